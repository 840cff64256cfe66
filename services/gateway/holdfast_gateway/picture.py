"""What the record alone can say of a run's stream: a ``snapshot`` of it, and the event that ended it.

Read when the log lost or missed something. The record is the truth, so a viewer that is shown this misses nothing that lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from holdfast.runs import TERMINAL, EventId
from holdfast.store import Database, JournalStep, KeptText, TailRow, WaitRow, caller
from holdfast.store.rows import in_snapshot
from holdfast.wire import events


class RunGone(Exception):
    """The run is not in the record any more: its thread was deleted."""


_SHOWING_NOTHING = frozenset({"ask", "sleep", "child"})


@dataclass(frozen=True, slots=True)
class Picture:
    """A run as the record has it: what it keeps, in the order in which it was finished.

    ``kept`` are the finished steps, and the text that suspended attempts had shown outside of steps. ``newest`` is the id of the
    newest one's last event: what the log has up to there, this picture has too, but for the steps that are ``unfinished`` (their
    positions). ``rest`` is the text of the answer beyond all that, known once the run has ended. ``waits`` is what the run waits
    for.
    """

    run: TailRow
    kept: Sequence[JournalStep | KeptText]
    newest: EventId | None
    unfinished: frozenset[str]
    rest: str
    waits: Sequence[WaitRow] = ()

    @property
    def terminal_id(self) -> EventId | None:
        """The id of the event that ended the run, once it has ended."""
        if self.run.status not in TERMINAL or self.run.terminal_event_id is None:
            return None
        return EventId.parse(self.run.terminal_event_id)

    def frame(self, at: EventId) -> bytes:
        """The ``snapshot`` event, standing for all that came up to ``at``."""
        run = self.run
        data: dict[str, Any] = {
            "run": {
                "id": str(run.id),
                "status": run.status,
                "attempt": run.attempt,
                "run_owner_pod": run.run_owner_pod,
            },
            "steps": [in_snapshot(each) for each in self.kept if isinstance(each, JournalStep) or each.shown_text],
        }
        if self.waits:
            data["run"]["waiting"] = [_open(wait) for wait in self.waits]
        if self.rest:
            data["partial_text"] = self.rest
        return events.frame(at, "snapshot", data)


def _open(wait: WaitRow) -> dict[str, Any]:
    """What a run waits for, with what its ``run.waiting`` says."""
    shown = {"position": wait.position, "kind": wait.kind, "question_id": str(wait.id)}
    match wait.kind:
        case "sleep":
            return {**shown, "until": wait.wake_at}
        case "child":
            return {**shown, "child_run_id": str(wait.child_run_id)}
    return {**shown, "question": wait.question, "schema": wait.schema}


def in_order(steps: Sequence[JournalStep], kept: Sequence[KeptText]) -> list[JournalStep | KeptText]:
    """Finished steps and kept text in the order of the transcript: where each was finished, as the record's own text has it."""
    return sorted([*(step for step in steps if step.finished), *kept], key=_place)


def _place(kept: JournalStep | KeptText) -> tuple[bool, tuple[int, ...], tuple[int, ...]]:
    finish_id = kept.finish_id or kept.last_event_id
    finished = tuple(EventId.parse(finish_id)) if finish_id is not None else ()
    position = tuple(map(int, kept.position.split("."))) if isinstance(kept, JournalStep) else ()
    return finish_id is None, finished, position


def _is_underway(step: JournalStep, attempt: int) -> bool:
    """May its text be in a log whose newest attempt is this one, and not in the record? What older ones left is dropped."""
    return not step.finished and step.attempt >= attempt and step.kind not in _SHOWING_NOTHING


async def take_picture(db: Database, run_id: UUID) -> Picture:
    """Read a run's picture. The run is read first: when it has ended, the rest cannot change any more.

    Raises:
        RunGone: there is no such run.
        StoreUnavailable: the record did not answer.
    """
    row = (await caller.tails(db, [run_id])).get(run_id)
    if row is None:
        raise RunGone(str(run_id))
    steps, kept_text = await _journal(db, run_id)
    kept = in_order(steps, kept_text)
    ids = [EventId.parse(each.last_event_id) for each in kept if each.last_event_id is not None]
    unfinished = frozenset(step.position for step in steps if _is_underway(step, row.attempt))
    rest = await _rest(db, row, kept) if row.status in TERMINAL else ""
    waits = (await caller.waits(db, [run_id])).get(run_id, []) if row.status == "waiting" else []
    return Picture(row, kept, max(ids, default=None), unfinished, rest, waits)


async def _journal(db: Database, run_id: UUID) -> tuple[list[JournalStep], list[KeptText]]:
    """Steps and kept text as they were at one moment: no attempt was suspended between the two reads of the text."""
    kept = await caller.kept(db, run_id)
    while True:
        steps = await caller.steps(db, run_id)
        before, kept = kept, await caller.kept(db, run_id)
        if kept == before:
            return steps, kept


async def _rest(db: Database, row: TailRow, kept: Sequence[JournalStep | KeptText]) -> str:
    """The text of the answer's message beyond what the record keeps of steps and suspended attempts."""
    said = "".join(
        part["text"]
        for message in await caller.run_messages(db, row.id)
        if message.role == "assistant"
        for part in message.parts
        if part.get("type") == "text"
    )
    held = "".join(each.shown_text for each in kept)
    return said[len(held) :] if said.startswith(held) else ""


_TYPES = {
    "completed": "run.completed",
    "failed": "run.failed",
    "cancelled": "run.cancelled",
    "interrupted": "run.interrupted",
}


def ending_frame(row: TailRow) -> bytes | None:
    """The event that ended or interrupted a run, made from the record, byte for byte what its writer would have written.

    None while nothing has ended it. An id ``<attempt>-1`` is never an owner's, whose first event is another: then the event says
    what to keep.
    """
    if row.status not in _TYPES or row.terminal_event_id is None:
        return None
    event_id = EventId.parse(row.terminal_event_id)
    data: dict[str, Any] = {}
    match row.status:
        case "completed":
            data = {"output": row.output}
        case "failed":
            data = {"error": row.error}
        case "interrupted":
            data = {"reason": (row.error or {}).get("code", "owner_lost"), "error": row.error}
    if event_id.n == 1:
        data["keep_through"] = row.keep_through
    return events.frame(event_id, _TYPES[row.status], data)
