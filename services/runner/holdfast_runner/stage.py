"""What viewers of a run are shown, in step with what the record will hold: events, the transcript, snapshots.

A step's end is shown, settled and counted in one go, so that nothing which a neighbour shows meanwhile is taken for its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import AgentFailed, LostOwnership
from holdfast.logs import get_logger
from holdfast.runs import EventId
from holdfast.store import JournalStep, RunRow
from holdfast.store.rows import in_snapshot
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.journal import Journal, Step
from holdfast_runner.recordable import clean_text
from holdfast_runner.transcript import Outside, Transcript
from holdfast_runner.waiting import OpenWait

log = get_logger(__name__)
_TEXT_TYPES = frozenset({"text.delta", "reasoning.delta"})
_TEXT_CHARS_MAX = 64 * 1024
_SHOWN_CHARS_MAX = 16 * 1024 * 1024
_FRAME_BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Settled:
    """What the record is told of the end of a step, or of a suspension: text, counts and ids of what was shown."""

    shown_text: str
    emits: Mapping[str, int] | None
    finish_id: str
    last_event_id: str | None


class Stage:
    """What one attempt shows.

    Args:
        run: the run.
        journal: what earlier attempts have committed to.
        writer: takes the events.
        step_bytes_max: bound of a step's request and output, as JSON.
    """

    def __init__(self, run: RunRow, journal: Journal, writer: EventWriter, *, step_bytes_max: int) -> None:
        self._run = run
        self._writer = writer
        self.bytes_max = min(step_bytes_max, writer.event_bytes_max - _FRAME_BYTES_MAX)
        kept = journal.kept
        self._transcript = Transcript([each.shown_text for each in kept])
        self._outside = Outside(each.emits for each in kept)
        self._finished = [in_snapshot(each) for each in kept]
        self.unwritten_values = journal.values.unwritten
        self._working: set[str] = set()
        self._closed = False

    @property
    def open_text(self) -> str:
        """The text that belongs to no finished step."""
        return self._transcript.open_text

    @property
    def closed(self) -> bool:
        """Can nothing be shown any more?"""
        return self._closed

    def close(self) -> None:
        """From now on nothing can be shown."""
        self._closed = True

    def refuse_closed(self) -> None:
        """Raises LostOwnership once this attempt is over."""
        if self._closed:
            raise LostOwnership(f"run {self._run.id}: this attempt is over")

    def refused_late(self, event_type: str, error: Exception) -> None:
        """What a thread wanted to show could not be shown."""
        log.info("event.refused_late", run_id=str(self._run.id), type=event_type, error=str(error))

    # -- the agent's own ---------------------------------------------------------------------------------------------

    def show(self, event_type: str, data: Mapping[str, Any], *, position: str | None, scope: str) -> None:
        """An event of the agent, within a step that is worked on or outside any."""
        self.refuse_closed()
        at = position if position in self._working else None
        if at is None and not self._outside.is_new(scope):
            self._writer.refuse_unfit(event_type, {} if event_type in _TEXT_TYPES else {"position": at, **data})
        elif event_type in _TEXT_TYPES:
            self._show_text(event_type, at, data)
        else:
            self._writer.emit(event_type, {"position": at, **data})
        if at is None:
            self._outside.count(scope)  # not what was refused, which a replay refuses too

    def _show_text(self, event_type: str, at: str | None, data: Mapping[str, Any]) -> None:
        text = clean_text(data["text"])
        if event_type == "text.delta" and self._transcript.chars + len(text) > _SHOWN_CHARS_MAX:
            raise AgentFailed("too_large", f"the run has shown more than {_SHOWN_CHARS_MAX} characters of text")
        for start in range(0, len(text), _TEXT_CHARS_MAX):
            piece = text[start : start + _TEXT_CHARS_MAX]
            self._writer.emit(event_type, {"position": at, "text": piece})
            if event_type == "text.delta":
                self._transcript.show(at, piece)

    # -- steps -------------------------------------------------------------------------------------------------------

    def begin(self, step: Step, tries: int) -> None:
        """A try of a step begins: viewers drop what an earlier one had shown."""
        self.refuse_closed()
        self._working.add(step.position)
        self._transcript.begin(step.position)
        self._writer.emit("step.started", _begun(step, tries))

    def begin_wait(self, step: Step, tries: int = 1) -> None:
        """A step waits for others: viewers drop what a try of it had shown."""
        self.refuse_closed()
        self._transcript.begin(step.position)
        self._writer.emit("step.started", _begun(step, tries))

    def leave(self, step: Step) -> None:
        """Nobody works on it any more."""
        self._working.discard(step.position)

    def fail_try(self, step: Step, tries: int, error: Mapping[str, str]) -> None:
        """A try has failed, and another will follow."""
        self.refuse_closed()
        self._writer.emit("step.failed", {"position": step.position, "error": error, "will_retry": True, "try": tries})

    async def finish(
        self, step: Step, tries: int, *, output: Any = None, error: Mapping[str, str] | None = None
    ) -> Settled:
        """A step has ended. Returns when that is in the log, or the log is lost."""
        self.refuse_closed()
        data: dict[str, Any]
        if error is None:
            data = {"position": step.position, "kind": step.kind, "name": step.name, "output": output}
        else:
            data = {"position": step.position, "error": error, "will_retry": False, "try": tries}
        finish_id = await self._emit_surely("step.completed" if error is None else "step.failed", data)
        text, emits = self._transcript.finish(step.position), self._outside.take()
        shown = _shown_step(step, output, error, text, finish_id)
        self._finished.append(shown)
        last_id = await self._writer.flush()
        self.refuse_closed()
        if last_id is None:
            shown["last_event_id"] = None
        return Settled(text, emits, str(finish_id), str(finish_id) if last_id is not None else None)

    async def _emit_surely(self, event_type: str, data: Mapping[str, Any]) -> EventId:
        """The end of a step is not refused because too much waits before it: work that was done would be lost."""
        try:
            return self._writer.emit(event_type, data)
        except AgentFailed as failed:
            if failed.code != "event_buffer_full":
                raise
        await self._writer.flush()
        self.refuse_closed()
        return self._writer.emit(event_type, data)

    def tell_finished_by_others(self, steps: Sequence[JournalStep]) -> None:
        """What was finished while nobody owned the run: an answer, a timer, a child."""
        for step in steps:
            self._writer.emit("step.started", _begun(step, step.tries))
            if step.error is None:
                ended = {"position": step.position, "kind": step.kind, "name": step.name, "output": step.output}
                self._writer.emit("step.completed", ended)
            else:
                self._writer.emit("step.failed", {"position": step.position, "error": step.error, "will_retry": False})

    # -- suspension --------------------------------------------------------------------------------------------------

    async def suspend(self, waits: Sequence[OpenWait]) -> tuple[Settled, Mapping[str, EventId]]:
        """Tell what is waited for, after the attempt is closed.

        Returns:
            What the record is told, and each wait's event by position.
        """
        ids = {wait.position: self._writer.emit("run.waiting", wait.told()) for wait in waits}
        text, emits = self._transcript.finish(None), self._outside.take()
        last_id = await self._writer.flush()
        finish_id = str(max(ids.values()))
        return Settled(text, emits, finish_id, finish_id if last_id is not None else None), ids

    # -- snapshots ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> Mapping[str, Any]:
        """The data of a ``snapshot`` as of now: the finished steps, and the text of what is not finished, by step."""
        run = {
            "id": str(self._run.id),
            "thread_id": self._run.thread_id,
            "status": "running",
            "attempt": self._run.attempt,
        }
        partial = [{"position": position, "text": text} for position, text in self._transcript.open]
        return {"run": run, "steps": list(self._finished), "partial_text": self.open_text, "partial": partial}


def _begun(step: Step | JournalStep, tries: int) -> Mapping[str, Any]:
    data: dict[str, Any] = {"position": step.position, "kind": step.kind, "name": step.name, "try": tries}
    if step.input is not None:
        data["input"] = step.input
    if step.call_id is not None:
        data["call_id"] = step.call_id
    return data


def _shown_step(
    step: Step, output: Any, error: Mapping[str, str] | None, text: str, finish_id: EventId
) -> dict[str, Any]:
    return {
        "position": step.position,
        "kind": step.kind,
        "name": step.name,
        "call_id": step.call_id,
        "input": step.input,
        "status": "completed" if error is None else "failed",
        "output": output,
        "error": error,
        "text": text,
        "last_event_id": str(finish_id),
    }
