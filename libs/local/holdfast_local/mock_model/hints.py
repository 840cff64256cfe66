"""What a user's text asks of the mock model. Pure: text in, a plan out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

CHUNKS_DEFAULT = 5
CHUNKS_MAX = 100_000
MANY_INTERVAL_S = 0.05
INTERVAL_MAX_S = 60.0
TOOL_CALLS_MAX = 16

_SLOW = re.compile(r"(?<!\S)slow:(\d{1,6})x(\d{1,6})(?!\S)")
_MANY = re.compile(r"(?<!\S)many:(\d{1,6})(?!\S)")
_FAIL = re.compile(r"(?<!\S)fail:([45]\d\d)(?:x(\d{1,6}))?(?!\S)")
_FAIL_AFTER = re.compile(r"(?<!\S)fail-after:(\d{1,6})(?:x(\d{1,6}))?(?!\S)")
_TOOL = re.compile(r"(?<!\S)tool:([A-Za-z0-9_-]{1,64})\(")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class ToolRequest:
    """``arguments`` is JSON text, as the protocol has it."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Failure:
    """``value`` is a status or a number of chunks; ``times``: how many calls with this text fail, None for all."""

    value: int
    times: int | None

    def applies(self, call_with_text: int) -> bool:
        """Whether the n-th call with this text (from 1) fails."""
        return self.times is None or call_with_text <= self.times


@dataclass(frozen=True)
class Plan:
    """What to do for one user message."""

    chunks: int = CHUNKS_DEFAULT
    interval_s: float = 0.0
    stamp: bool = False
    hang: bool = False
    fail: Failure | None = None
    fail_after: Failure | None = None
    tools: tuple[ToolRequest, ...] = ()

    def text(self, index: int, call: int) -> str:
        """Chunk ``index`` (from 1) of the answer to call number ``call``."""
        return f"chunk-{index}@{call} " if self.stamp else f"chunk-{index} "


def read_hints(text: str) -> Plan:
    """The plan in ``text``; what is not a hint is ignored."""
    tools, rest = _tool_requests(text)
    words = set(_WORD.findall(rest))
    chunks, interval_s = CHUNKS_DEFAULT, 0.0
    if many := _MANY.search(rest):
        chunks, interval_s = int(many[1]), MANY_INTERVAL_S
    if slow := _SLOW.search(rest):
        chunks, interval_s = int(slow[1]), int(slow[2]) / 1000
    return Plan(
        chunks=min(chunks, CHUNKS_MAX),
        interval_s=min(interval_s, INTERVAL_MAX_S),
        stamp="stamp" in words,
        hang="hang" in words,
        fail=_failure(_FAIL, rest),
        fail_after=_failure(_FAIL_AFTER, rest),
        tools=tools,
    )


def _failure(pattern: re.Pattern[str], text: str) -> Failure | None:
    found = pattern.search(text)
    return Failure(int(found[1]), int(found[2]) if found[2] else None) if found else None


def _tool_requests(text: str) -> tuple[tuple[ToolRequest, ...], str]:
    """The tools asked for, and the text without them (their JSON may hold words that look like hints)."""
    tools: list[ToolRequest] = []
    rest: list[str] = []
    position = 0
    while len(tools) < TOOL_CALLS_MAX and (found := _TOOL.search(text, position)):
        rest.append(text[position : found.start()])
        position = found.end()
        try:
            _, end = json.JSONDecoder().raw_decode(text, position)
        except json.JSONDecodeError:
            continue
        if text[end : end + 1] == ")":
            tools.append(ToolRequest(found[1], text[position:end]))
            position = end + 1
    rest.append(text[position:])
    return tuple(tools), " ".join(rest)
