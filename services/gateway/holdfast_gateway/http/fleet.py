"""Routes that tell of the runners: their agents, and the runners themselves."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from holdfast.bus import heartbeats
from holdfast_gateway.http.answers import PROBLEMS, answer, page
from holdfast_gateway.http.dependencies import CallerOf, PartsOf
from holdfast_gateway.http.models import Agent, Page, Pod

router = APIRouter(tags=["fleet"])


@router.get("/agents", response_model=Page[Agent], responses=PROBLEMS)
async def list_agents(_: CallerOf, parts: PartsOf) -> Response:
    """The agents that live runners have loaded. All of them on one page."""
    return page([Agent.of(row) for row in await parts.agents.all()])


@router.get("/pods", response_model=Page[Pod], responses=PROBLEMS)
async def list_pods(caller: CallerOf, parts: PartsOf) -> Response:
    """The runners that are alive. All of them on one page."""
    pods = [
        Pod.of(beat.heartbeat, last_seen=beat.written_at, operator=caller.operator)
        for beat in await heartbeats.read_all(parts.carrier.client)
        if beat.heartbeat is not None and beat.heartbeat.kind == "runner" and not beat.heartbeat.goodbye
    ]
    shown = [pod.model_dump(exclude_none=True) for pod in sorted(pods, key=lambda pod: pod.pod)]
    return answer(Page[Any](items=shown, next_cursor=None))
