"""The standard shape of a tool approval: what is asked, what may be answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

APPROVAL_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "required": ["decision"],
    "properties": {
        "decision": {"enum": ["approve", "deny"]},
        "reason": {"type": "string", "description": "why it is denied; the model is told"},
        "arguments": {"type": "object", "description": "call it with these instead"},
    },
    "additionalProperties": False,
}
"""JSON schema of an answer to an approval."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person decided. ``arguments`` are those to call the tool with: the asked ones, or those put in their place."""

    approved: bool
    arguments: Mapping[str, Any]
    reason: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any], asked: Mapping[str, Any]) -> Approval:
        """Read an answer that fits :data:`APPROVAL_SCHEMA`."""
        return cls(answer["decision"] == "approve", answer.get("arguments", asked), answer.get("reason", ""))


def approval_question(
    tool: str, arguments: Mapping[str, Any], *, call_id: str | None = None, text: str | None = None
) -> dict[str, Any]:
    """The question that asks for an approval."""
    return {
        "type": "approval",
        "text": text or f"May {tool} be called?",
        "tool": tool,
        "arguments": dict(arguments),
        **({"call_id": call_id} if call_id is not None else {}),
    }
