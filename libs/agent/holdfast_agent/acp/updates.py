"""What a child says, read leniently: text, tool calls and their results, permission requests. Pure.

Kinds and fields that this code does not know are passed on as they are; what no record can hold is mended first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SHOWN_CHARS_MAX = 40_000
"""Of one value that is shown and journalled: a tool's input, its result."""
FINAL = frozenset({"completed", "failed"})


def cleaned(value: Any) -> Any:
    """A JSON value without NUL characters and halves of surrogate pairs, which the record cannot hold."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {cleaned(str(key)): cleaned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [cleaned(each) for each in value]
    return value


def shortened(value: Any) -> Any:
    """The value; when it is long, its beginning as text."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _SHOWN_CHARS_MAX:
        return value
    return {"shortened": (value if isinstance(value, str) else text)[:_SHOWN_CHARS_MAX], "chars": len(text)}


def text_of(content: Any) -> str:
    """The text of a content block; a word in brackets for what is not text."""
    if not isinstance(content, Mapping):
        return ""
    match content.get("type"):
        case "text":
            return str(content.get("text") or "")
        case "resource_link":
            return str(content.get("uri") or "")
        case "resource":
            resource = content.get("resource")
            return str(resource.get("text") or resource.get("uri") or "") if isinstance(resource, Mapping) else ""
        case other:
            return f"[{other}]"


@dataclass
class ToolCall:
    """A tool call as far as the child has told of it."""

    id: str
    title: str = ""
    kind: str = ""
    status: str = "pending"
    raw_input: Any = None
    raw_output: Any = None
    content: Sequence[Any] = ()
    locations: Sequence[Any] = field(default_factory=tuple)

    def merge(self, update: Mapping[str, Any]) -> None:
        """Take what a ``tool_call``, a ``tool_call_update`` or a permission request says of it."""
        for key, name in _FIELDS.items():
            if update.get(key) is not None:
                setattr(self, name, update[key])
        self.title = str(self.title)
        self.content = self.content if isinstance(self.content, list) else ()

    @property
    def ended(self) -> bool:
        """Is its outcome known?"""
        return self.status in FINAL

    @property
    def name(self) -> str:
        """What the step is called in the journal."""
        return (self.title or self.kind or "tool")[:200]

    @property
    def fingerprint(self) -> str:
        """The same for the same tool with the same input, whatever id the call has."""
        what = self.raw_input if self.raw_input else self.title
        return json.dumps([self.kind, what], sort_keys=True, ensure_ascii=False)

    @property
    def shown(self) -> dict[str, Any]:
        """The step's input: what people are shown of the call."""
        shown: dict[str, Any] = {"tool_call_id": self.id, "title": self.title, "kind": self.kind}
        if self.raw_input is not None:
            shown["raw_input"] = shortened(self.raw_input)
        if self.locations:
            shown["locations"] = shortened(list(self.locations))
        return shown

    @property
    def result(self) -> dict[str, Any]:
        """The step's output."""
        result: dict[str, Any] = {"status": self.status, "text": self.result_text[:_SHOWN_CHARS_MAX]}
        if self.raw_output is not None:
            result["raw_output"] = shortened(self.raw_output)
        diffs = [each for each in self.content if isinstance(each, Mapping) and each.get("type") == "diff"]
        if diffs:
            result["diffs"] = shortened(diffs)
        return result

    @property
    def result_text(self) -> str:
        """What it gave back, as text."""
        parts: list[str] = []
        for each in self.content:
            if isinstance(each, Mapping) and each.get("type") == "content":
                parts.append(text_of(each.get("content")))
            elif isinstance(each, Mapping) and each.get("type") == "diff":
                parts.append(f"changed {each.get('path')}")
        if not parts and self.raw_output is not None:
            parts.append(
                self.raw_output if isinstance(self.raw_output, str) else json.dumps(self.raw_output, ensure_ascii=False)
            )
        return "\n".join(part for part in parts if part)


_FIELDS: Mapping[str, str] = {
    "title": "title", "kind": "kind", "status": "status", "rawInput": "raw_input",
    "rawOutput": "raw_output", "content": "content", "locations": "locations",
}  # fmt: skip
