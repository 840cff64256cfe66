"""The input of the built-in agents: ``{"messages": [{"role": "user", "content": "…"}]}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHAT_INPUT: Mapping[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role", "content"],
                "properties": {
                    "role": {"enum": ["system", "user", "assistant"]},
                    "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
                },
            },
        }
    },
}
"""JSON schema of a chat input."""


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts of which those of type ``text`` count."""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if part.get("type") == "text")


def last_user_text(run_input: Mapping[str, Any]) -> str:
    """What the user said last in this input; empty when the user said nothing."""
    for message in reversed(run_input["messages"]):
        if message["role"] == "user":
            return content_text(message["content"])
    return ""
