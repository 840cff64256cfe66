"""Permission requests of a child as Holdfast approvals: what is asked, what may be answered, which option that is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast_agent.acp.updates import ToolCall, shortened
from holdfast_agent.approval import approval_question

Option = Mapping[str, Any]


@dataclass
class Permission:
    """What a person has decided about one call. ``given``: a child was told, or began the call; ``used_by`` is that call, and
    ``answered`` says that its request was answered. A call may begin before it asks: then it still has its answer to get."""

    tool_call_id: str
    fingerprint: str
    title: str
    approved: bool
    option_id: str | None
    always: bool
    reason: str = ""
    given: bool = False
    used_by: ToolCall | None = None
    answered: bool = False

    def is_for(self, call: ToolCall) -> bool:
        """The same tool with the same input. The id counts for nothing: a child that was started anew gives another one, or the
        same one to something else."""
        return call.fingerprint == self.fingerprint

    def use(self, call: ToolCall) -> None:
        """It is used up, by this call."""
        self.given, self.used_by, self.answered = True, call, False

    def take_back(self) -> None:
        """The call that used it had not begun after all."""
        self.given, self.used_by, self.answered = False, None, False


def request_of(call: ToolCall, options: Sequence[Option]) -> dict[str, Any]:
    """A permission request as it stands in the output of the turn that it ended."""
    return {
        "tool_call_id": call.id,
        "title": call.title,
        "kind": call.kind,
        "raw_input": shortened(call.raw_input),
        "fingerprint": call.fingerprint,
        "options": [
            {"id": str(each.get("optionId")), "name": str(each.get("name", "")), "kind": str(each.get("kind", ""))}
            for each in options
        ],
    }


def question_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The approval that asks a person: Holdfast's standard shape, with the child's ``options`` and the call's ``kind``."""
    raw_input = request["raw_input"]
    arguments = raw_input if isinstance(raw_input, Mapping) else {} if raw_input is None else {"input": raw_input}
    question = approval_question(
        request["title"] or request["kind"] or "tool",
        arguments,
        call_id=request["tool_call_id"],
        text=f"The agent asks for permission: {request['title'] or request['kind'] or 'a tool call'}",
    )
    return {**question, "kind": request["kind"], "options": [dict(option) for option in request["options"]]}


def schema_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of the answer: the standard one, with an ``option`` that agrees with the decision, and without edited
    arguments, for which the protocol has no word."""
    allow = [option["id"] for option in request["options"] if option["kind"].startswith("allow")]
    reject = [option["id"] for option in request["options"] if option["kind"].startswith("reject")]
    return {
        "type": "object",
        "required": ["decision"],
        "properties": {
            "decision": {"enum": ["approve", "deny"]} if allow else {"enum": ["deny"]},
            "reason": {"type": "string", "description": "why it is denied; the agent is told"},
            "option": {
                "type": "string",
                "description": "the id of the option to choose; the one for this once if left out",
            },
        },
        "additionalProperties": False,
        "allOf": [
            _when("approve", {"enum": allow} if allow else False),
            _when("deny", {"enum": reject} if reject else False),
        ],
    }


def _when(decision: str, option: Any) -> dict[str, Any]:
    return {
        "if": {"properties": {"decision": {"const": decision}}},
        "then": {"properties": {"option": option}},
    }


def permission_of(request: Mapping[str, Any], answer: Mapping[str, Any]) -> Permission:
    """What an answer that fits :func:`schema_of` decides. ``option_id`` None: the request is answered as cancelled."""
    approved = answer["decision"] == "approve"
    wanted = answer.get("option") or choose(request["options"], approved=approved)
    kinds = {option["id"]: option["kind"] for option in request["options"]}
    return Permission(
        tool_call_id=request["tool_call_id"],
        fingerprint=request["fingerprint"],
        title=request["title"] or request["kind"],
        approved=approved,
        option_id=wanted,
        always=str(kinds.get(wanted, "")).endswith("_always"),
        reason=str(answer.get("reason", "")),
    )


def choose(options: Sequence[Option], *, approved: bool) -> str | None:
    """The option for this once, else the one for always; None: there is none."""
    word = "allow" if approved else "reject"
    for kind in (f"{word}_once", f"{word}_always"):
        for option in options:
            if option["kind"] == kind:
                return str(option["id"])
    return None
