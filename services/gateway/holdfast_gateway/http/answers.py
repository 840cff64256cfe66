"""Ready answers: a model is written as JSON once, without being checked a second time on its way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from holdfast_gateway.http.models import Page, Run
from holdfast_gateway.http.problems import Problem

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        401: "no key, or nobody's",
        422: "a wrong shape, cursor or id, or a value that is not taken",
        503: "Postgres is away; try again after `Retry-After` seconds",
    }.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "no such thing for this key's tenant"}
}
TOO_MANY: dict[int | str, dict[str, Any]] = {
    429: {"model": Problem, "description": "this key holds as many streams open as it may"}
}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": Problem, "description": "its state does not allow this"}}


def answer(
    model: BaseModel, status: int = 200, *, headers: Mapping[str, str] | None = None, leave_out_none: bool = False
) -> Response:
    """A model as JSON."""
    body = model.model_dump_json(exclude_none=leave_out_none, by_alias=True)
    return Response(body, status, headers=dict(headers or {}), media_type="application/json")


def page(items: Sequence[BaseModel], next_cursor: str | None = None) -> Response:
    """A page of a list."""
    return answer(Page[Any](items=list(items), next_cursor=next_cursor))


def run_headers(run_id: object) -> dict[str, str]:
    """What tells of a new run before its body is read."""
    return {"location": f"/v1/runs/{run_id}", "x-workflow-run-id": str(run_id)}


def run_answer(run: Run, status: int) -> Response:
    """A run that was submitted."""
    return answer(run, status, headers=run_headers(run.id))
