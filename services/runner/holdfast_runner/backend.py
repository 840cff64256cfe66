"""What an agent's ``Run`` works with: events out, steps through the journal, replayed or done.

Append, then commit: what a step has shown is in the event log before the record says that the step is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from pydantic_core import from_json

from holdfast.errors import AgentFailed, LostOwnership
from holdfast.store import Database, JournalStep, RunRow, owner
from holdfast_agent import Retry, Said
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.journal import Journal, Step, hash_of, until_known
from holdfast_runner.recordable import clean_text, encode, error_of
from holdfast_runner.transcript import Transcript

_position: ContextVar[str | None] = ContextVar("position", default=None)
_TEXT_TYPES = frozenset({"text.delta", "reasoning.delta"})
_TEXT_CHARS_MAX = 64 * 1024
_SHOWN_CHARS_MAX = 16 * 1024 * 1024
_FRAME_BYTES_MAX = 1024


class RunBackend:
    """The backend of one attempt.

    Args:
        db: the record.
        run: the run.
        journal: its journal.
        writer: its events.
        step_bytes_max: bound of a step's request and output, as JSON.
        at_boundary: called where a step, or another try of one, is about to start; raises what stops the agent.
        on_step_ended: called when a step was worked on and has ended, in whatever way.
        on_lost: called when a write of the journal finds that somebody else has the run.
    """

    def __init__(
        self,
        db: Database,
        run: RunRow,
        journal: Journal,
        writer: EventWriter,
        *,
        step_bytes_max: int,
        at_boundary: Callable[[], None],
        on_step_ended: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._db = db
        self._run = run
        self._journal = journal
        self._writer = writer
        self._bytes_max = min(step_bytes_max, writer.event_bytes_max - _FRAME_BYTES_MAX)
        self._at_boundary = at_boundary
        self._on_step_ended = on_step_ended
        self._on_lost = on_lost
        self._transcript = Transcript(step.shown_text for step in journal.finished)
        self._finished = [_shown_step(step) for step in journal.finished]
        self._open_step: str | None = None
        self._partial_told = False
        self._closed = False

    @property
    def in_step(self) -> bool:
        """Is a step being worked on?"""
        return self._open_step is not None

    @property
    def shown_text(self) -> str:
        """All the text that viewers are shown."""
        return self._transcript.text

    def refuse_diverged(self) -> None:
        """See :meth:`Journal.refuse_diverged`."""
        self._journal.refuse_diverged()

    def finish(self, output: Any) -> Any:
        """The agent is done. Returns its output as the record will give it back.

        Raises:
            AgentFailed: ``diverged``, ``not_json``, ``too_large``.
        """
        self._journal.refuse_unreplayed()
        return from_json(encode(output, what="the agent's output", bytes_max=self._bytes_max))

    def close(self) -> None:
        """From now on nothing can be shown or done: the attempt is ending."""
        self._closed = True

    def snapshot(self) -> Mapping[str, Any]:
        """The data of a ``snapshot`` as of now: the finished steps, and the text since."""
        run = {
            "id": str(self._run.id),
            "thread_id": self._run.thread_id,
            "status": "running",
            "attempt": self._run.attempt,
        }
        partial = self._transcript.open_text
        self._partial_told = self._partial_told or bool(partial)
        return {"run": run, "steps": list(self._finished), "partial_text": partial}

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Show an event; silent while the journal is replayed, since viewers keep what it showed."""
        self._refuse_closed()
        if self._journal.replaying:
            return
        position = _position.get()
        if event_type not in _TEXT_TYPES:
            self._writer.emit(event_type, {"position": position, **data})
            return
        text = clean_text(data["text"])
        if event_type == "text.delta" and self._transcript.chars + len(text) > _SHOWN_CHARS_MAX:
            raise AgentFailed("too_large", f"the run has shown more than {_SHOWN_CHARS_MAX} characters of text")
        for start in range(0, len(text), _TEXT_CHARS_MAX):
            piece = text[start : start + _TEXT_CHARS_MAX]
            self._writer.emit(event_type, {"position": position, "text": piece})
            if event_type == "text.delta":
                self._transcript.show(position, piece)

    async def history(self, limit: int) -> Sequence[Said]:
        """What was said on the thread before this run."""
        rows = await until_known(lambda: owner.said_before(self._db, self._run, limit=limit))
        return [Said(role, parts, status) for role, parts, status in rows]

    async def step(self, kind: str, name: str, request: Any, work: Callable[[], Awaitable[Any]], retry: Retry) -> Any:
        """One durable step: replayed when finished, else journalled, tried, shown, journalled."""
        self._refuse_closed()
        name = clean_text(str(name))
        if self._open_step is not None:
            raise AgentFailed("steps_overlap", f"step {name!r} was started within or beside step {self._open_step!r}")
        encoded = encode(request, what=f"the request of step {name!r}", bytes_max=self._bytes_max)
        step = Step(self._journal.take_position(), kind, name, hash_of(encoded))
        recorded = self._journal.replay(step)
        if recorded is not None and recorded.status != "started":
            if recorded.error is not None:
                raise AgentFailed(recorded.error["code"], recorded.error["message"])
            return recorded.output
        self._open_step = name
        token = _position.set(step.position)
        try:
            return await self._try(step, work, retry, recorded.tries if recorded is not None else 0)
        except LostOwnership as lost:
            self._on_lost(str(lost))
            raise
        finally:
            _position.reset(token)
            self._open_step = None
            self._on_step_ended()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise LostOwnership(f"run {self._run.id}: this attempt is over")

    async def _try(self, step: Step, work: Callable[[], Awaitable[Any]], retry: Retry, tries: int) -> Any:
        """The tries of a step: an intent before each, a checkpoint after the last."""
        failures = 0
        while True:
            self._at_boundary()
            tries += 1
            await self._journal.intend(step, tries)
            self._begin_try(step, tries)
            try:
                output = await self._work(step, work)
            except AgentFailed as failed:
                self._refuse_closed()
                failures += 1
                error = error_of(failed)
                again = failed.retryable and failures < retry.tries
                self._writer.emit("step.failed", {"position": step.position, "error": error, "will_retry": again})
                if not again:
                    await self._checkpoint(step, error=error)
                    raise
            else:
                self._refuse_closed()
                self._writer.emit("step.completed", {"position": step.position, "output": output})
                await self._checkpoint(step, output=output)
                return output
            await asyncio.sleep(retry.delay_s(failures))

    def _begin_try(self, step: Step, tries: int) -> None:
        self._refuse_closed()
        dropped = self._transcript.begin(step.position)
        if dropped and self._partial_told:
            # A snapshot's open text is of no step: viewers would keep what the failed try had shown.
            self._partial_told = False
            self._writer.emit_snapshot()
        at = {"position": step.position, "kind": step.kind, "name": step.name, "try": tries}
        self._writer.emit("step.started", at)

    async def _work(self, step: Step, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do the work. Returns its output as a replay would; whatever it raises becomes an :class:`AgentFailed`."""
        try:
            output = await work()
        except (AgentFailed, LostOwnership):
            raise
        except (Exception, SystemExit) as error:
            raise AgentFailed("step_error", f"step {step.name!r}: {type(error).__name__}: {error}") from error
        return from_json(encode(output, what=f"the output of step {step.name!r}", bytes_max=self._bytes_max))

    async def _checkpoint(self, step: Step, *, output: Any = None, error: Mapping[str, str] | None = None) -> None:
        """Flush, then say in the record how the step ended. A snapshot made meanwhile has the step already."""
        last_id = await self._writer.flush()
        self._refuse_closed()
        last_event_id = str(last_id) if last_id is not None else None
        text = self._transcript.finish(step.position)
        self._partial_told = False
        self._finished.append(
            {
                "position": step.position,
                "kind": step.kind,
                "name": step.name,
                "status": "completed" if error is None else "failed",
                "output": output,
                "error": error,
                "text": text,
                "last_event_id": last_event_id,
            }
        )
        await self._journal.checkpoint(
            step.position, output=output, error=error, shown_text=text, last_event_id=last_event_id
        )


def _shown_step(step: JournalStep) -> Mapping[str, Any]:
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
