"""Calls of the API that are designed and not built yet: refused by name, so that nobody takes a 404 for "no such run"."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from holdfast_gateway.http.dependencies import CallerOf
from holdfast_gateway.http.problems import problem

router = APIRouter(include_in_schema=False)

_CALLS = [
    ("POST", "/runs/{run_id}/resume"),
    ("POST", "/runs/{run_id}/fork"),
    ("POST", "/runs/{run_id}/answer"),
    ("PATCH", "/threads/{thread_id}/queue/{run_id}"),
    ("DELETE", "/threads/{thread_id}/queue/{run_id}"),
    ("POST", "/threads/{thread_id}/queue/{run_id}/now"),
]


def _refuse(method: str, path: str) -> None:
    @router.api_route(path, methods=[method])
    async def refuse(_: CallerOf) -> Response:
        return problem(
            422, "not_supported_yet", f"{method} /v1{path} is not supported yet", fields=[path.rsplit("/", 1)[-1]]
        )


for _method, _path in _CALLS:
    _refuse(_method, _path)
