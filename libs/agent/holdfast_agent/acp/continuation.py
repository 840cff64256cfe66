"""The prompts: what a person asked, and how a child is told to go on where an earlier one was stopped. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast_agent.acp.permission import Permission
from holdfast_agent.acp.story import CallItem, Item, SaidItem, Sitting
from holdfast_agent.backend import Said
from holdfast_agent.builtin.chat_input import content_text

_HISTORY_CHARS_MAX = 20_000
_DONE_CHARS_MAX = 40_000
_RESULT_CHARS_MAX = 2_000


_MORE = (
    "You may have done more than is listed, just before you were stopped: "
    "look whether a thing was done before you do it again."
)


def first_prompt(run_input: Any, history: Sequence[Said]) -> str:
    """What a person asks, after what was said on the thread before.

    ``run_input`` is a text, ``{"prompt": text}`` or ``{"messages": [{"role", "content"}]}``.
    """
    if isinstance(run_input, Mapping) and "messages" in run_input:
        asked = "\n\n".join(
            content_text(each["content"]) for each in run_input["messages"] if each["role"] != "assistant"
        )
    elif isinstance(run_input, Mapping) and "prompt" in run_input:
        asked = str(run_input["prompt"])
    else:
        asked = str(run_input)
    said = [
        f"{each.role}: {words}" for each in history if each.role in ("user", "assistant") and (words := _in_words(each))
    ]
    if not said:
        return asked
    return f"What was said before in this conversation:\n\n{_newest(said, _HISTORY_CHARS_MAX)}\n\nNow:\n\n{asked}"


def _in_words(said: Said) -> str:
    """A message with its calls: what became of each is as much a part of what was said."""
    words = []
    for part in said.parts:
        match part:
            case {"type": "text", "text": text}:
                words.append(str(text))
            case {"type": "tool-result", "tool_name": name, "status": status}:
                why = (part.get("error") or {}).get("message")
                words.append(f"[{name}: {status}{f', {why}' if why else ''}]")
            case _:
                pass
    return " ".join(word for word in words if word)


def loaded_prompt(
    behind: Sequence[Item], unknown: Sequence[CallItem], permissions: Sequence[Permission], *, cut: bool
) -> str:
    """To a child that has its session back: what that does not say, and to go on. ``cut``: it was killed, and not stopped."""
    lines = ["You were stopped before you had finished. Go on from where you stopped; do not repeat what is done."]
    if behind:
        lines += ["", "This was done as well, though your session may not show it:", *_told(behind)]
    lines += _told_unknown(unknown)
    lines += ["", _MORE] if cut else []
    lines += _told_permissions(permissions)
    return "\n".join(lines)


def retold_prompt(
    sittings: Sequence[Sitting],
    unknown: Sequence[CallItem],
    permissions: Sequence[Permission],
    asked: str,
    *,
    cut: bool,
) -> str:
    """To a child with a new session: what was asked, what was said and done, and to go on."""
    done = [item for sitting in sittings for item in sitting.items]
    prompt = next((sitting.prompt for sitting in sittings if sitting.prompt), None) or asked
    if not done and not permissions and not cut:
        return prompt
    lines = [
        "You are taking over a task that another session of yours has begun and could not finish. This is what was asked:",
        "",
        prompt,
        "",
        "This is what was said and done, oldest first:",
        _newest(_told(done), _DONE_CHARS_MAX) or "(nothing)",
    ]
    lines += _told_unknown(unknown)
    lines += ["", _MORE] if cut else []
    lines += _told_permissions(permissions)
    lines += ["", "Go on from there; do not repeat what is done."]
    return "\n".join(lines)


def _told(items: Sequence[Item]) -> list[str]:
    lines = []
    for item in items:
        if isinstance(item, SaidItem):
            lines.append(f"- you said: {item.text}")
        elif item.status != "asked":
            result = f": {_cut(item.result)}" if item.result else ""
            lines.append(f"- tool call {item.call.name!r} {item.call.raw_input or ''} {item.status}{result}")
    return lines


def _told_unknown(unknown: Sequence[CallItem]) -> list[str]:
    """The calls in flight at the stop. There may be more than the journal has: a child acts first, and tells then."""
    if not unknown:
        return []
    return [
        "",
        "When you were stopped, these calls were going on. Each may or may not have been done: look before you do it again.",
        *(f"- {item.call.name!r} {item.call.raw_input or ''}: {_cut(item.result)}" for item in unknown),
    ]


def _told_permissions(permissions: Sequence[Permission]) -> list[str]:
    lines = []
    for each in permissions:
        if each.approved:
            lines.append(
                f"- {each.title!r}: granted. Do it now; if you have to ask again you will be answered at once."
            )
        else:
            reason = f" The reason: {each.reason}" if each.reason else ""
            lines.append(f"- {each.title!r}: denied.{reason} Go on without it.")
    return ["", "You asked for permission, and were stopped until there was an answer:", *lines] if lines else []


def _newest(lines: Sequence[str], chars_max: int) -> str:
    """As many of the last lines as fit, each whole but the first."""
    kept: list[str] = []
    room = chars_max
    for line in reversed(lines):
        if len(line) > room:
            kept.append(f"(…) {line[len(line) - room :]}")
            break
        kept.append(line)
        room -= len(line) + 1
    return "\n".join(reversed(kept))


def _cut(text: str) -> str:
    return text if len(text) <= _RESULT_CHARS_MAX else f"{text[:_RESULT_CHARS_MAX]} (…)"
