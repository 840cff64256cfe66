"""What the record alone can say of a run's stream: a ``snapshot`` of it, and the event that ended it.

Read when the log lost or missed something. The record is the truth, so a viewer that is shown this misses nothing that lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from holdfast.runs import TERMINAL, EventId
from holdfast.store import Database, JournalStep, TailRow, caller
from holdfast.wire import events


class RunGone(Exception):
    """The run is not in the record any more: its thread was deleted."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A run as the record has it: its finished steps in the order in which they finished.

    ``newest`` is the id of the newest finished step's last event: what the log has up to there, this picture has too, but for the
    steps that are ``unfinished`` (their positions). ``rest`` is the text of the answer beyond the steps' own, known once the run
    has ended.
    """

    run: TailRow
    steps: Sequence[JournalStep]
    newest: EventId | None
    unfinished: frozenset[str]
    rest: str

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
            "steps": [_shown(step) for step in self.steps],
        }
        if self.rest:
            data["partial_text"] = self.rest
        return events.frame(at, "snapshot", data)


def _shown(step: JournalStep) -> dict[str, Any]:
    return {
        "position": step.position,
        "kind": step.kind,
        "name": step.name,
        "status": step.status,
        "output": step.output,
        "error": step.error,
        "text": step.shown_text,
        "last_event_id": step.last_event_id,
    }


async def take_picture(db: Database, run_id: UUID) -> Picture:
    """Read a run's picture. The run is read first: when it has ended, the rest cannot change any more.

    Raises:
        RunGone: there is no such run.
        StoreUnavailable: the record did not answer.
    """
    row = (await caller.tails(db, [run_id])).get(run_id)
    if row is None:
        raise RunGone(str(run_id))
    steps = await caller.steps(db, run_id)
    unfinished = frozenset(step.position for step in steps if step.status == "started")
    finished = [step for step in steps if step.status != "started"]
    ids = [EventId.parse(step.last_event_id) for step in finished if step.last_event_id is not None]
    # A step's text is what was shown since the step that finished before it, so their order is the order of finishing.
    if len(ids) == len(finished):
        finished.sort(key=lambda step: EventId.parse(step.last_event_id or ""))
    else:
        finished.sort(key=lambda step: step.finished_at or step.started_at)
    rest = await _rest(db, row, finished) if row.status in TERMINAL else ""
    return Picture(row, finished, max(ids, default=None), unfinished, rest)


async def _rest(db: Database, row: TailRow, finished: Sequence[JournalStep]) -> str:
    """The text of the answer's message beyond what its steps hold."""
    said = "".join(
        part["text"]
        for message in await caller.run_messages(db, row.id)
        if message.role == "assistant"
        for part in message.parts
        if part.get("type") == "text"
    )
    held = "".join(step.shown_text for step in finished)
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
            data = {"reason": (row.error or {}).get("code", "owner_lost")}
    if event_id.n == 1:
        data["keep_through"] = row.keep_through
    return events.frame(event_id, _TYPES[row.status], data)
