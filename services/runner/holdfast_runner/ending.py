"""The end of an attempt: flushed, written to the record, told. Only the end goes in this order: the record first, then the event.

Exactly one thing is written: a finish or a release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from holdfast import metrics
from holdfast.errors import AgentFailed, LostOwnership
from holdfast.logs import get_logger
from holdfast.runs import Lease, Outcome
from holdfast.store import Database, Finished, owner
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.journal import until_known
from holdfast_runner.recordable import error_of

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """What an attempt came to: how, with which output or error."""

    how: Outcome | Literal["release"]
    output: Any = None
    error: Mapping[str, str] | None = None


def failed(code: str, message: str) -> Ending:
    """The run failed."""
    return Ending(Outcome.FAILED, error=error_of(AgentFailed(code, message)))


async def end(db: Database, lease: Lease, writer: EventWriter, ending: Ending, shown_text: str) -> Finished:
    """Bring an attempt to its end.

    Raises:
        LostOwnership: somebody else has the run.
    """
    await writer.flush()
    end_id = str(writer.seal())
    try:
        ended = await _write(db, lease, ending, end_id, shown_text)
    except LostOwnership:
        raise
    except Exception as error:  # the record cannot hold it, whatever it is: the run still ends, and says why
        log.exception("run.not_recordable", run_id=str(lease.run_id), attempt=lease.attempt)
        ended = await _write(db, lease, failed("not_recordable", str(error)), end_id, "")
    if ended.status == "queued":
        metrics.RUNS_RELEASED.inc()
    else:
        metrics.RUNS_ENDED.labels(status=ended.status).inc()
        await _tell(lease, writer, ended)
    return ended


async def _write(db: Database, lease: Lease, ending: Ending, end_id: str, shown_text: str) -> Finished:
    how = ending.how
    if how == "release":
        return await until_known(lambda: owner.release(db, lease, next_event_id=end_id, shown_text=shown_text))
    return await until_known(
        lambda: owner.finish(
            db,
            lease,
            outcome=how,
            output=ending.output,
            error=ending.error,
            terminal_event_id=end_id,
            shown_text=shown_text,
        )
    )


async def _tell(lease: Lease, writer: EventWriter, ended: Finished) -> None:
    """The terminal event. Should it not get into the log, whoever tails the run makes it from the record."""
    data: Mapping[str, Any] = {}
    if ended.status == "completed":
        data = {"output": ended.output}
    elif ended.status == "failed":
        data = {"error": ended.error}
    try:
        await writer.tell_end(f"run.{ended.status}", data)
    except LostOwnership as lost:
        log.info("run.end_untold", run_id=str(lease.run_id), where=str(lost))
