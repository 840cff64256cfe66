"""A run that was, drawn at random: what was committed to the record and appended to its log, in order, and what went wrong.

Its owners keep the rules of ``architecture.md``: append, then commit; only the end goes the other way; a log that lost anything
is mended by a snapshot; a step that finished while the log was away has no event id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from holdfast.runs import EventId
from holdfast.store import JournalStep, KeptText, TailRow
from holdfast.store.rows import in_snapshot
from holdfast.wire.events import frame
from holdfast_gateway.picture import Picture, in_order

RUN = UUID(int=1)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_SIDE_BY_SIDE_MAX = 3


@dataclass(frozen=True)
class Commit:
    """From now on the record is this."""

    picture: Picture


@dataclass(frozen=True)
class Append:
    """Events go into the log."""

    frame: bytes


@dataclass(frozen=True)
class Lose:
    """The log loses its ``first`` messages, ``last`` ones, or the one ``at`` a place; or all, and counts from one again."""

    first: int = 0
    last: int = 0
    at: int | None = None
    everything: bool = False


Act = Commit | Append | Lose


@dataclass
class RunHistory:
    """``acts`` in order; ``text`` and ``status`` are what a viewer is to end with."""

    acts: list[Act] = field(default_factory=list)
    status: str = "queued"
    attempt: int = 0
    unfinished: list[str] = field(default_factory=list)
    _n: int = 0
    _terminal_id: str | None = None
    _steps: list[JournalStep] = field(default_factory=list)
    _kept: list[KeptText] = field(default_factory=list)
    _open: list[tuple[str | None, str]] = field(default_factory=list)
    _rest: str = ""
    _log: list[EventId] = field(default_factory=list)
    _deaf: bool = False
    _positions: int = 0

    @property
    def text(self) -> str:
        return "".join(each.shown_text for each in self._finished) + self._rest

    @property
    def _finished(self) -> list[JournalStep | KeptText]:
        return in_order(self._steps, self._kept)

    @property
    def _newest(self) -> EventId | None:
        ids = [each.last_event_id for each in self._finished if each.last_event_id]
        return max(map(EventId.parse, ids), default=None)

    @property
    def _keep_through(self) -> str | None:
        return str(self._newest) if self._newest else None

    def commit(self) -> None:
        row = TailRow(RUN, self.status, self.attempt, self._terminal_id, None, None, None, self._keep_through)
        self.acts.append(Commit(Picture(row, self._finished, self._newest, frozenset(self.unfinished), self._rest)))

    def emit(self, event_type: str, **data: Any) -> EventId:
        self._n += 1
        event_id = EventId(self.attempt, self._n)
        if not self._deaf:
            self.acts.append(Append(frame(event_id, event_type, data)))
            self._log.append(event_id)
        return event_id

    def submit(self) -> None:
        self.commit()
        self.emit("run.queued")

    def claim(self) -> None:
        first = self.attempt == 0
        self.attempt, self._n, self.status, self._deaf = self.attempt + 1, 0, "running", False
        self._terminal_id, self.unfinished, self._open = None, [], []
        self.commit()
        if first:
            self.emit("run.started", attempt=1)
            return
        log_end, keep = (self._log[-1] if self._log else None), self._newest
        whole = keep is None or (log_end is not None and log_end >= keep)
        whole = whole and all(each.last_event_id for each in self._finished)
        why = "owner_lost" if whole else "log_lost"
        self.emit("run.resumed", attempt=self.attempt, reason=why, keep_through=str(keep) if keep and whole else None)
        if not whole:
            self.snapshot()

    def snapshot(self) -> None:
        partial = [{"position": position, "text": text} for position, text in self._open]
        steps = [in_snapshot(each) for each in self._finished]
        self.emit("snapshot", run={"status": "running"}, steps=steps, partial=partial)

    def begin(self) -> None:
        position = str(self._positions)
        self._positions += 1
        self.unfinished.append(position)
        self.commit()
        self.emit("step.started", position=position)

    def say(self, text: str, position: str | None) -> None:
        self._open.append((position, text))
        self.emit("text.delta", position=position, text=text)

    def _taken(self, *positions: str | None) -> str:
        taken = "".join(text for position, text in self._open if position in positions)
        self._open = [each for each in self._open if each[0] not in positions]
        return taken

    def end(self, position: str) -> None:
        event_id = str(self.emit("step.completed", position=position, output=None))
        self.unfinished.remove(position)
        last_id, what = (None if self._deaf else event_id), (position, "model", "chat", b"", "completed")
        text = self._taken(position, None)
        step = JournalStep(*what, 1, self.attempt, None, None, text, last_id, _NOW, _NOW, finish_id=event_id)
        self._steps.append(step)
        self.commit()

    def lose_touch(self) -> None:
        """NATS is away for longer than the owner waits: nothing of what it emits is in the log any more."""
        self._deaf = True

    def mend(self) -> None:
        if self._deaf:
            self._deaf = False
            self.snapshot()

    def lose(self, what: Lose) -> None:
        """The log loses something. The owner finds that its end is another one, and mends it."""
        self.acts.append(what)
        if what.everything or what.last:
            self._log = [] if what.everything else self._log[: -what.last]
            if self.status == "running" and not self._deaf:
                self.snapshot()

    def suspend(self) -> None:
        event_id = str(self.emit("run.waiting", kind="ask", question_id="q"))
        self.status = "waiting"
        last_id = None if self._deaf else event_id
        self._kept.append(KeptText(self.attempt, self._taken(None), event_id, last_id, None))
        self.commit()

    def die(self) -> None:
        self.status = "queued"
        self.commit()

    def interrupt(self) -> None:
        self._end_by_other("interrupted", keep_through=self._keep_through)

    def cancel(self) -> None:
        self._end_by_other("cancelled", keep_through=self._keep_through)

    def _end_by_other(self, status: str, **data: Any) -> None:
        self.status, self._deaf, self._open, self.unfinished = status, False, [], []
        self.attempt, self._n = self.attempt + 1, 0
        self._terminal_id = f"{self.attempt}-1"
        self.commit()
        self.emit(f"run.{status}", **data)

    def finish(self, status: str, *, told: bool) -> None:
        owed = self._deaf
        self._n += owed
        self.status, self._terminal_id = status, f"{self.attempt}-{self._n + 1}"
        self._rest = self._taken(*{position for position, _ in self._open})
        self.commit()
        self._deaf = owed or not told
        self.emit(f"run.{status}")


def _losses(draw: st.DrawFn) -> Lose:
    return draw(
        st.one_of(
            st.builds(Lose, first=st.integers(1, 6)),
            st.builds(Lose, last=st.integers(1, 3)),
            st.builds(Lose, at=st.integers(0, 8)),
            st.builds(Lose, at=st.integers(2, 5)),
            st.just(Lose(everything=True)),
        )
    )


_WORK = ("begin", "say", "say", "say", "say", "end", "end", "lose", "lose", "lose touch", "mend", "mend")


@st.composite
def run_histories(draw: st.DrawFn) -> RunHistory:
    """A run of one to three attempts, ended by its owner or by somebody else."""
    history = RunHistory()
    history.submit()
    for attempt in range(draw(st.integers(1, 3))):
        if attempt:
            _leave(history, draw(st.sampled_from(["die", "interrupt", "suspend"])))
            if draw(st.booleans()):
                history.lose(_losses(draw))
        history.claim()
        for act in draw(st.lists(st.sampled_from(_WORK), min_size=2, max_size=16)):
            _work(draw, history, act)
    ending: Sequence[str] = ("completed", "failed", "cancelled by its owner", "cancelled", "cancelled while it waits")
    match draw(st.sampled_from(ending)):
        case "cancelled":
            history.cancel()
        case "cancelled while it waits":
            history.suspend()
            history.cancel()
        case status:
            history.finish(status.split()[0], told=draw(st.booleans()))
    if draw(st.booleans()):
        history.lose(_losses(draw))
    return history


def _leave(history: RunHistory, how: str) -> None:
    if how == "die":
        history.die()
    elif how == "interrupt":
        history.interrupt()
    else:
        history.suspend()


def _work(draw: st.DrawFn, history: RunHistory, act: str) -> None:
    if act == "begin" and len(history.unfinished) < _SIDE_BY_SIDE_MAX:
        history.begin()
    elif act == "say":
        history.say(draw(st.sampled_from("abcdefgh")), draw(st.sampled_from([*history.unfinished, None])))
    elif act == "end" and history.unfinished:
        history.end(draw(st.sampled_from(history.unfinished)))
    elif act == "lose":
        history.lose(_losses(draw))
    elif act == "lose touch":
        history.lose_touch()
    elif act == "mend":
        history.mend()
