"""A run by a script: steps, some of them parallel, on owners that die anywhere; its log and what its record holds.

It obeys the rules of an owner (append, then commit; silence for what is kept) and knows nothing of the folding rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from holdfast.runs import EventId

OUTSIDE = None


@dataclass(frozen=True)
class Line:
    """One event of the log."""

    id: EventId
    type: str
    data: dict[str, Any]


@dataclass
class Journalled:
    """A finished step, as the record holds it: the end's id, and its text by the ids of the deltas."""

    last_event_id: EventId
    said: dict[EventId, str]


class Crash(Exception):
    """The owner dies here."""


@dataclass
class ScriptedRun:
    """What happened. ``record`` maps positions to finished steps; ``outside`` a stage to what was said before it."""

    draw: st.DrawFn
    stages: list[list[str]]
    log: list[Line] = field(default_factory=list)
    record: dict[str, Journalled] = field(default_factory=dict)
    outside: dict[int, dict[EventId, str]] = field(default_factory=dict)
    resumed_at: list[int] = field(default_factory=list)
    records: list[dict[str, Journalled]] = field(default_factory=list)
    _next: EventId = field(default_factory=lambda: EventId(0, 1))
    _left: int = 0

    def attempt(self, *, dies_after: int | None) -> None:
        """One owner, from claim to its death (after so many events) or the end of the run."""
        self._next = EventId(self._next.attempt + 1, 1)
        self._left = dies_after if dies_after is not None else 1_000_000
        if self._next.attempt == 1:
            self._emit("run.started", {"attempt": 1})
        else:
            self.resumed_at.append(len(self.log))
            self.records.append(dict(self.record))
            keep = max((step.last_event_id for step in self.record.values()), default=None)
            self._emit("run.resumed", {"keep_through": None if keep is None else str(keep)})
        try:
            for number, positions in enumerate(self.stages):
                self._speak_before(number)
                self._do(positions)
            self._emit("run.completed", {"output": None})
        except Crash:
            pass

    def text(self) -> str:
        """What a viewer who has read all of the log must show: the text of each step where it was finished, and what was said
        outside any step with the next one that was."""
        said: list[str] = []
        told: set[int] = set()
        for position, step in sorted(self.record.items(), key=lambda item: item[1].last_event_id):
            stage = int(position.split(".")[0])
            for number in sorted(set(range(stage + 1)) - told):
                said += self.outside.get(number, {}).values()
                told.add(number)
            said += step.said.values()
        return "".join(said)

    def _emit(self, event_type: str, data: dict[str, Any]) -> EventId:
        if self._left == 0:
            raise Crash
        self._left -= 1
        event_id, self._next = self._next, self._next.next()
        self.log.append(Line(event_id, event_type, data))
        return event_id

    def _say(self, position: str | None) -> dict[EventId, str]:
        word = f"{position}@{self._next} "
        return {self._emit("text.delta", {"position": position, "text": word}): word}

    def _speak_before(self, number: int) -> None:
        """Outside any step, and silent as long as a later step is recorded: what was said before it is kept."""
        if not any(position in self.record for later in self.stages[number:] for position in later):
            self.outside[number] = {}
            self.outside[number] = self._say(OUTSIDE) if self.draw(st.booleans()) else {}

    def _do(self, positions: list[str]) -> None:
        """The steps of a stage, interleaved. Each result is appended, then committed, maybe not before the owner dies."""
        pending: dict[str, Journalled] = {}
        try:
            working = {position: self._work(position, pending) for position in positions if position not in self.record}
            while working:
                position = self.draw(st.sampled_from(sorted(working)))
                if next(working[position], None) is None:
                    del working[position]
                elif pending and self._left and self.draw(st.booleans()):
                    self.record |= pending
                    pending.clear()
            self._may_die_before_commit(pending)
        except Crash:
            self.record |= {at: step for at, step in pending.items() if self.draw(st.booleans())}
            raise
        self.record |= pending

    def _may_die_before_commit(self, pending: dict[str, Journalled]) -> None:
        if pending and self._left == 0:
            raise Crash

    def _work(self, position: str, pending: dict[str, Journalled]) -> Iterator[bool]:
        tries = self.draw(st.integers(1, 2))
        for number in range(1, tries + 1):
            said: dict[EventId, str] = {}
            self._emit("step.started", {"position": position, "kind": "model", "name": "chat"})
            yield True
            for _ in range(self.draw(st.integers(0, 2))):
                said |= self._say(position)
                yield True
            if number < tries:
                self._emit("step.failed", {"position": position, "error": {}, "will_retry": True})
                yield True
        pending[position] = Journalled(self._emit("step.completed", {"position": position, "output": None}), said)
        yield True


@st.composite
def scripted_runs(draw: st.DrawFn, *, widest: int = 3) -> ScriptedRun:
    """A run of up to three stages of up to ``widest`` parallel steps, of whose owners up to four die."""
    widths = draw(st.lists(st.integers(1, widest), min_size=1, max_size=3))
    stages = [[str(n)] if width == 1 else [f"{n}.{m}" for m in range(width)] for n, width in enumerate(widths)]
    run = ScriptedRun(draw, stages)
    for dies_after in draw(st.lists(st.integers(2, 14), max_size=4)):
        run.attempt(dies_after=dies_after)
        if run.log[-1].type == "run.completed":
            return run
    run.attempt(dies_after=None)
    return run
