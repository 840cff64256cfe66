"""Routes that have a stopped run go on: resume an interrupted one, fork one that has ended."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Body
from starlette.responses import Response

from holdfast.errors import Refused
from holdfast.logs import get_logger
from holdfast.store import RunRow
from holdfast.store import caller as record
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, answer, run_answer
from holdfast_gateway.http.dependencies import CallerOf, PartsOf
from holdfast_gateway.http.models import Run
from holdfast_gateway.http.showing import shown_one
from holdfast_gateway.http.wanted import ForkWanted
from holdfast_gateway.ids import new_id
from holdfast_gateway.parts import Parts

log = get_logger(__name__)
router = APIRouter(tags=["runs"])


@router.post("/runs/{run_id}/resume", status_code=202, response_model=Run, responses=NOT_FOUND | CONFLICT | PROBLEMS)
async def resume_run(run_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Have an interrupted run go on from its last finished step. 409: it is not interrupted (any more)."""
    row = await record.resume(parts.record.db, caller.tenant_id, run_id)
    if row is None:
        raise _not_interrupted(await record.run(parts.record.db, caller.tenant_id, run_id))
    log.info("run.resume_wanted", run_id=str(run_id))
    await parts.announcer.asked_again(row.pool, row.id)
    return answer(await shown_one(parts, row), 202)


def _not_interrupted(row: RunRow) -> Refused:
    way_on = "fork it to go on from there" if row.finished_at is not None else "there is nothing to resume"
    if (row.error or {}).get("code") == "abandoned":
        way_on = "a later run of its thread was claimed, and gave it up; fork it to go on from there"
    return Refused("not_interrupted", f"run {row.id} is not interrupted: it is {row.status}; {way_on}")


@router.post(
    "/runs/{run_id}/fork",
    status_code=202,
    response_model=Run,
    responses={202: {"description": "the new run; `Location` names it"}} | NOT_FOUND | CONFLICT | PROBLEMS,
)
async def fork_run(
    run_id: UUID,
    caller: CallerOf,
    parts: PartsOf,
    body: ForkWanted = Body(default=ForkWanted()),  # noqa: B008
) -> Response:
    """Make a new run with the journal of one that has ended or is interrupted: what was finished is kept, and not done again."""
    row = await record.fork(
        parts.record.db,
        caller.tenant_id,
        run_id,
        new_id=new_id(),
        from_position=body.from_position,
        thread_id=body.thread_id,
    )
    log.info("run.forked", run_id=str(row.id), forked_from=str(run_id), from_position=body.from_position)
    await parts.announcer.forked(row, await _place(parts, row))
    return run_answer(await shown_one(parts, row), 202)


async def _place(parts: Parts, run: RunRow) -> int:
    """The run's place on its thread, as a submit counts it."""
    active = await record.active_runs(parts.record.db, run.tenant_id, run.thread_id)
    before = [row for row in active if row.status != "interrupted" and row.id != run.id]
    return len(before) + 1
