"""The end of an attempt: flushed, written to the record, told. Only the end of a run goes in this order: the record first, then
the event. A suspension is told first, as a step is.

Exactly one thing is written: a finish, a release or a suspension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from holdfast import metrics
from holdfast.errors import AgentFailed, LostOwnership, Refused
from holdfast.logs import get_logger
from holdfast.runs import Lease, Outcome
from holdfast.store import Database, Finished, owner
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.journal import until_known
from holdfast_runner.recordable import error_of
from holdfast_runner.stage import Stage
from holdfast_runner.waiting import OpenWait

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """What an attempt came to: how, with which output or error, or what it waits for."""

    how: Outcome | Literal["release", "suspend"]
    output: Any = None
    error: Mapping[str, str] | None = None
    waits: Sequence[OpenWait] = ()


def failed(code: str, message: str) -> Ending:
    """The run failed."""
    return Ending(Outcome.FAILED, error=error_of(AgentFailed(code, message)))


def interrupted(code: str, message: str) -> Ending:
    """The run cannot go on here, and rests until somebody decides."""
    return Ending(Outcome.INTERRUPTED, error=error_of(AgentFailed(code, message)))


async def end(db: Database, lease: Lease, writer: EventWriter, ending: Ending, stage: Stage | None) -> Finished:
    """Bring an attempt to its end. ``stage`` is what it has shown; None: nothing.

    Raises:
        LostOwnership: somebody else has the run.
    """
    if ending.how == "suspend" and stage is not None:
        try:
            ended = await _suspend(db, lease, writer, ending.waits, stage)
        except AgentFailed as failure:  # it cannot be shown what is waited for
            return await end(db, lease, writer, failed(failure.code, failure.message), stage)
        except Refused as refused:
            log.exception("run.not_recordable", run_id=str(lease.run_id), attempt=lease.attempt)
            return await end(db, lease, writer, failed("not_recordable", str(refused)), stage)
    else:
        ended = await _finish(db, lease, writer, ending, stage.open_text if stage is not None else "")
    if ended.status == "waiting" or ended.next_id == lease.run_id:
        counter = metrics.RUNS_SUSPENDED if ending.how == "suspend" else metrics.RUNS_RELEASED
        counter.inc()
    else:
        metrics.RUNS_ENDED.labels(status=ended.status).inc()
        await _tell(lease, writer, ended)
    return ended


async def _suspend(
    db: Database, lease: Lease, writer: EventWriter, waits: Sequence[OpenWait], stage: Stage
) -> Finished:
    settled, told = await stage.suspend(waits)
    recorded = stage.unwritten_values()
    end_id = str(writer.seal())
    in_log = settled.last_event_id is not None
    ids = [(wait.id, str(told[wait.position]), str(told[wait.position]) if in_log else None) for wait in waits]
    return await until_known(
        lambda: owner.suspend(
            db,
            lease,
            waits=ids,
            next_event_id=end_id,
            shown_text=settled.shown_text,
            finish_id=settled.finish_id,
            last_event_id=settled.last_event_id,
            emits=settled.emits,
            recorded=recorded,
        )
    )


async def _finish(db: Database, lease: Lease, writer: EventWriter, ending: Ending, shown_text: str) -> Finished:
    await writer.flush()
    end_id = str(writer.seal())
    try:
        return await _write(db, lease, ending, end_id, shown_text)
    except LostOwnership:
        raise
    except Exception as error:  # the record cannot hold it, whatever it is: the run still ends, and says why
        log.exception("run.not_recordable", run_id=str(lease.run_id), attempt=lease.attempt)
        return await _write(db, lease, failed("not_recordable", str(error)), end_id, "")


async def _write(db: Database, lease: Lease, ending: Ending, end_id: str, shown_text: str) -> Finished:
    how = ending.how
    if how in ("release", "suspend"):
        return await until_known(lambda: owner.release(db, lease, next_event_id=end_id, shown_text=shown_text))
    return await until_known(
        lambda: owner.finish(
            db,
            lease,
            outcome=Outcome(how),
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
    elif ended.status == "interrupted":
        data = {"reason": (ended.error or {}).get("code", "owner_lost"), "error": ended.error}
    try:
        await writer.tell_end(f"run.{ended.status}", data)
    except LostOwnership as lost:
        log.info("run.end_untold", run_id=str(lease.run_id), where=str(lost))
