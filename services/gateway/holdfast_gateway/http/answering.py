"""The route that answers a run's question."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from holdfast.store import caller as record
from holdfast_gateway.answering import answer as give_answer
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, answer
from holdfast_gateway.http.dependencies import CallerOf, PartsOf
from holdfast_gateway.http.models import Run
from holdfast_gateway.http.showing import shown_one
from holdfast_gateway.http.wanted import AnswerWanted

router = APIRouter(tags=["runs"])


@router.post("/runs/{run_id}/answer", status_code=202, response_model=Run, responses=NOT_FOUND | CONFLICT | PROBLEMS)
async def answer_question(run_id: UUID, body: AnswerWanted, caller: CallerOf, parts: PartsOf) -> Response:
    """Answer a question that a run waits for. The first answer holds: a second one is 409. Then the run goes on."""
    await give_answer(parts, caller.tenant_id, run_id, body.question_id, body.answer)
    return answer(await shown_one(parts, await record.run(parts.record.db, caller.tenant_id, run_id)), 202)
