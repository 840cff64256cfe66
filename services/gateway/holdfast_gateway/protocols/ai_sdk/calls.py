"""The tool calls of a message, and what persons are asked: which part each of them is, and how it is told of its end. Pure.

A question that is about no call is shown as a call of its own, so that the SDK's client can answer it: an approval of the tool
that it names, anything else as a call of :data:`ASK` whose result is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from holdfast.runs import EventId
from holdfast_gateway.protocols.ai_sdk import tool_outcome
from holdfast_gateway.protocols.ai_sdk.canvas import Canvas
from holdfast_gateway.protocols.ai_sdk.message import Asked, Outcome, Part, Tool

ASK = "ask"
"""The name of the tool whose calls are questions."""


class Calls:
    """All calls of a message, those in closed SDK steps too: these can still be told how they ended.

    Args:
        canvas: where they are drawn.
        after: what later attempts asked and was answered meanwhile, the client does not know.
    """

    def __init__(self, canvas: Canvas, *, after: int) -> None:
        self._canvas = canvas
        self._after = after
        self._tools: list[Tool] = []
        self._newest: dict[str, Tool] = {}

    def want(self, call_id: str, name: str, given: Any, at: EventId, position: str | None) -> Tool:
        """A call is asked for. An id that comes again is another part."""
        earlier = sum(tool.call_id == call_id for tool in self._tools)
        ident = f"{call_id}#{earlier + 1}" if earlier else call_id
        tool = Tool(ident, call_id, name, given, at, position)
        self._newest[call_id] = tool
        self._tools.append(tool)
        self._canvas.add(tool)
        return tool

    def begin(self, at: EventId, position: str, data: Mapping[str, Any]) -> None:
        """A call is made. Viewers may know it from the model's step before, which asked for it."""
        call_id = str(data["call_id"])
        tool = self._newest.get(call_id)
        if tool is None or (tool.step not in (None, position) and tool.outcome is not None):
            tool = self.want(call_id, str(data["name"]), data.get("input"), at, position)
        tool.step = position
        if tool.outcome is not None and tool.outcome.position == position:
            tool.outcome = None

    def end(self, position: str, outcome: Outcome) -> None:
        """A step has ended: the call that it made, or the question that it was."""
        asked = self._asked_at(position)
        if asked is not None and asked.outcome is None:
            self._tell_answer(asked, outcome)
        for tool in self._tools:
            if tool.step == position and tool is not asked and not _is_denied_already(tool, outcome):
                self._tell(tool, outcome)

    def end_the_rest(self, at: EventId, *, of: Iterable[Part] | None = None, refused: bool = False) -> None:
        """Of calls without an end nothing more will be heard: of all, or of some parts."""
        for tool in list(self._tools if of is None else of):
            if isinstance(tool, Tool) and tool.outcome is None:
                self._tell(tool, _left_open(tool, at, refused=refused))

    def forget(self, dropped: Iterable[Part]) -> None:
        """Parts were taken back."""
        gone = [part for part in dropped if isinstance(part, Tool)]
        self._tools = [tool for tool in self._tools if tool not in gone]
        self._newest = {call_id: tool for call_id, tool in self._newest.items() if tool not in gone}

    def take_back(self, keeps: Callable[[str | None, EventId], bool], *, closed_too: bool) -> bool:
        """Take back what calls were told that ``keeps(position, event id)`` does not. True: the client must and can be told."""
        changed = False
        for tool in self._tools:
            if tool.closed and not closed_too:
                continue
            lost = False
            if tool.outcome is not None and not keeps(tool.outcome.position, tool.outcome.at):
                tool.outcome, lost = None, True
            if tool.asked is not None and not keeps(None, tool.asked.at):
                tool.asked, tool.by_client, lost = None, False, True
            changed = changed or (lost and not tool.closed and keeps(tool.position, tool.at))
        return changed

    def _tell(self, tool: Tool, outcome: Outcome) -> None:
        tool.outcome = outcome
        self._canvas.emit(outcome.chunk(tool.id))

    # -- questions -----------------------------------------------------------------------------------------------------

    def ask(self, at: EventId, wait: Mapping[str, Any]) -> None:
        """Persons are asked something. The same question may be asked again, when something else that was waited for is over."""
        question, of_outcome = wait.get("question"), wait.get("kind") == "unknown"
        shown: Mapping[str, Any] = question if isinstance(question, Mapping) else {"text": question}
        approval = shown.get("type") == "approval" and not of_outcome
        asked = Asked(str(wait["question_id"]), str(wait.get("position")), at, approval)
        tool = self._asked_before(asked.question_id)
        if tool is not None:
            tool.asked = asked
            if approval:
                self._canvas.emit(tool.request(asked))
            return
        told = {"question": question, "schema": wait.get("schema")}
        if not approval:
            self._canvas.show("question", at, None, {"questionId": asked.question_id, **told}, asked.question_id)
        tool = self._newest.get(str(shown.get("call_id"))) if not of_outcome else None
        if tool is not None:
            tool.asked, tool.by_client = asked, not approval
            self._canvas.emit(tool.request(asked) if approval else tool.available())
            return
        name, given = (str(shown.get("tool") or "approval"), shown.get("arguments")) if approval else (ASK, told)
        tool = Tool(asked.question_id, None, name, given, at, None, asked=asked, by_client=not approval)
        self._tools.append(tool)
        self._canvas.add(tool)

    def asked_at(self, position: str) -> bool:
        """Is a question known that was asked there?"""
        return self._asked_at(position) is not None

    def go_on(self, at: EventId, position: str) -> None:
        """A step begins whose outcome nobody knew, and was asked for: somebody has said what to do."""
        asked = self._asked_at(position)
        if asked is not None and asked.outcome is None:
            asked.outcome = Outcome("available", {"outcome": "answered"}, at)
            if self._is_news(asked):
                self._canvas.emit(asked.outcome.chunk(asked.id))

    def _asked_before(self, question_id: str) -> Tool | None:
        return next((tool for tool in self._tools if tool.asked and tool.asked.question_id == question_id), None)

    def _asked_at(self, position: str) -> Tool | None:
        asked = (tool for tool in reversed(self._tools) if tool.asked and tool.asked.position == position)
        return next((tool for tool in asked if tool.approved is None), None)

    def _is_news(self, tool: Tool) -> bool:
        """Is its answer news to the client? Else it was this one that gave it, and shows it."""
        return tool.asked is not None and tool.asked.at.attempt > self._after

    def _tell_answer(self, tool: Tool, outcome: Outcome) -> None:
        """A question has its answer. An approved call is still to be made; what no call is behind has come to its end."""
        assert tool.asked is not None
        if not tool.asked.approval or outcome.kind != "available":
            self._tell(tool, outcome)
            return
        answer = outcome.value if isinstance(outcome.value, Mapping) else {}
        if answer.get("decision") != "approve":
            self._tell(tool, Outcome("denied", None, outcome.at, outcome.position))
        elif tool.call_id is None:
            self._tell(tool, outcome)
        else:
            tool.approved = answer
            if self._is_news(tool):
                told = {"approvalId": tool.asked.question_id, "approved": True}
                self._canvas.emit({"type": "tool-approval-response", **told})


def _is_denied_already(tool: Tool, outcome: Outcome) -> bool:
    return tool.outcome is not None and tool.outcome.kind == outcome.kind == "denied"


def _left_open(tool: Tool, at: EventId, *, refused: bool) -> Outcome:
    if tool.approved is not None:
        return Outcome("available", tool.approved, at)
    if tool.asked is not None:
        return Outcome("error", tool_outcome.UNANSWERED, at)
    if tool.step is not None:
        return Outcome("error", tool_outcome.UNKNOWN, at)
    return Outcome("error", tool_outcome.REFUSED if refused else tool_outcome.NOT_RUN, at)
