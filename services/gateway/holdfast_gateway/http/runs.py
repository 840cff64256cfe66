"""Routes of runs: lists, one, its journal and attempts, cancel."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from holdfast.errors import Refused
from holdfast.runs import Status
from holdfast.store import caller as record
from holdfast.store import stranger
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, answer, page
from holdfast_gateway.http.dependencies import CallerOf, PartsOf
from holdfast_gateway.http.models import Attempt, Page, Run, Step
from holdfast_gateway.http.pages import Cursor, Limit, cut, place_of
from holdfast_gateway.http.showing import shown_one, shown_runs
from holdfast_gateway.http.wanted import POSITION_PATTERN, AgentName, ThreadId

router = APIRouter(tags=["runs"])
_POSITION_FORM = re.compile(POSITION_PATTERN)
_BEFORE_THE_FIRST_STEP = "-1"


@router.get("/runs", response_model=Page[Run], responses=PROBLEMS)
async def list_runs(
    *,
    caller: CallerOf,
    parts: PartsOf,
    status: Annotated[list[Status] | None, Query(description="one or more")] = None,
    thread: Annotated[ThreadId | None, Query()] = None,
    agent: Annotated[AgentName | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Runs, newest first."""
    rows = await record.runs(
        parts.record.db,
        caller.tenant_id,
        before=place_of("runs", cursor, UUID, None),
        statuses=[each.value for each in status] if status else None,
        thread_id=thread,
        agent=agent,
        limit=limit + 1,
    )
    shown, next_cursor = cut(rows, limit, "runs", lambda row: row.id)
    return page(await shown_runs(parts, shown), next_cursor)


@router.get("/runs/{run_id}", response_model=Run, responses=NOT_FOUND | PROBLEMS)
async def show_run(run_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """One run, with what it waits for."""
    return answer(await shown_one(parts, await record.run(parts.record.db, caller.tenant_id, run_id)))


@router.get("/runs/{run_id}/steps", response_model=Page[Step], responses=NOT_FOUND | PROBLEMS)
async def list_steps(
    run_id: UUID, caller: CallerOf, parts: PartsOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """The journal, in order."""
    run = await record.run(parts.record.db, caller.tenant_id, run_id)
    after = place_of("steps", cursor, _position, _BEFORE_THE_FIRST_STEP)
    rows = await record.steps_page(parts.record.db, run_id, after=after, limit=limit + 1)
    shown, next_cursor = cut(rows, limit, "steps", lambda row: row.position)
    return page([Step.of(row, run) for row in shown], next_cursor)


def _position(text: str) -> str:
    if not _POSITION_FORM.fullmatch(text):
        raise ValueError(text)
    return text


@router.get("/runs/{run_id}/attempts", response_model=Page[Attempt], responses=NOT_FOUND | PROBLEMS)
async def list_attempts(run_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Every attempt, in order: who had the run, and why that ended. All of them on one page."""
    await record.run(parts.record.db, caller.tenant_id, run_id)
    return page([Attempt.of(row) for row in await record.attempts(parts.record.db, run_id)])


@router.post("/runs/{run_id}/cancel", status_code=202, response_model=Run, responses=NOT_FOUND | CONFLICT | PROBLEMS)
async def cancel_run(run_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Cancel this run and its children, and no other. One that no runner has ends at once; its owner ends a running one."""
    ended = await stranger.cancel(parts.record.db, caller.tenant_id, run_id)
    row = await record.run(parts.record.db, caller.tenant_id, run_id)
    if ended is None:
        raise Refused("run_ended", f"run {run_id} has ended already: it is {row.status}")
    await parts.announcer.ended(ended, row.run_owner_pod)
    return answer(await shown_one(parts, row), 202)
