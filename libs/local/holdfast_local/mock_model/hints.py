"""What a user's text asks of the mock model. Pure: text in, a plan out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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
_THEN = re.compile(r"(?<!\S)then(?!\S)")
_CHUNK = re.compile(r"chunk-(\d{1,6})(?:@\d+)? ")
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
    talk: bool = False
    tools: tuple[ToolRequest, ...] = ()
    later_tools: tuple[tuple[ToolRequest, ...], ...] = ()

    def tools_of(self, turn: int) -> tuple[ToolRequest, ...]:
        """What to ask for in a turn, counted from 0; nothing when there is only the answer left to give."""
        turns = (self.tools, *self.later_tools)
        return turns[turn] if turn < len(turns) else ()

    def text(self, index: int, call: int) -> str:
        """Chunk ``index`` (from 1) of the answer to call number ``call``."""
        return f"chunk-{index}@{call} " if self.stamp else f"chunk-{index} "

    def pieces(self, call: int, beginning: str = "") -> Iterator[str]:
        """The answer's text, chunk by chunk; what is in its beginning is not said again."""
        said = 0
        while found := _CHUNK.match(beginning):
            if int(found[1]) != said + 1:
                break
            said, beginning = said + 1, beginning[found.end() :]
        for index in range(said + 1, self.chunks + 1):
            text = self.text(index, call)
            yield text[len(beginning) :] if text.startswith(beginning) else text
            beginning = ""


def read_hints(text: str) -> Plan:
    """The plan in ``text``; what is not a hint is ignored."""
    turns, rest = _tool_requests(text)
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
        talk="talk" in words,
        tools=turns[0],
        later_tools=turns[1:],
    )


def _failure(pattern: re.Pattern[str], text: str) -> Failure | None:
    found = pattern.search(text)
    return Failure(int(found[1]), int(found[2]) if found[2] else None) if found else None


def _tool_requests(text: str) -> tuple[tuple[tuple[ToolRequest, ...], ...], str]:
    """The tools asked for, turn by turn, and the text without them (their JSON may hold words that look like hints)."""
    turns: list[list[ToolRequest]] = [[]]
    rest: list[str] = []
    position = 0
    while sum(map(len, turns)) < TOOL_CALLS_MAX and (found := _TOOL.search(text, position)):
        between = text[position : found.start()]
        rest.append(between)
        if turns[-1] and _THEN.search(between):
            turns.append([])
        position = found.end()
        try:
            _, end = json.JSONDecoder().raw_decode(text, position)
        except json.JSONDecodeError:
            continue
        if text[end : end + 1] == ")":
            turns[-1].append(ToolRequest(found[1], text[position:end]))
            position = end + 1
    rest.append(text[position:])
    return tuple(tuple(turn) for turn in turns if turn) or ((),), " ".join(rest)
