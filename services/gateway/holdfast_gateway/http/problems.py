"""Errors as problem+json (RFC 9457) with a stable ``code``: one table from what went wrong to a status and a code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from holdfast.errors import BusUnavailable, NotFound, Refused, StoreUnavailable
from holdfast.logs import get_logger
from holdfast_gateway.agents import InvalidInput, UnknownAgent
from holdfast_gateway.answering import InvalidAnswer
from holdfast_gateway.auth import KeyRefused
from holdfast_gateway.connections import TooManyStreams
from holdfast_gateway.http.stream import StreamReset
from holdfast_gateway.record import Record

log = get_logger(__name__)
_RETRY = {"Retry-After": "1"}

_REFUSED_STATUS = {
    "thread_busy": 409,
    "thread_exists": 409,
    "run_ended": 409,
    "idempotency_mismatch": 422,
    "invalid_value": 422,
    "invalid_cursor": 422,
    "invalid_header": 422,
    "not_supported": 422,
    "not_a_question": 422,
    "unknown_position": 422,
    "webhook_refused": 422,
}
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}  # Python says it in other words before 3.13
_HTTP_CODES = {400: "malformed_json", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Problem(BaseModel):
    """What went wrong. ``code`` is stable; ``detail`` is for a person."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:holdfast:problem:unknown_agent",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "code": "unknown_agent",
                    "detail": "no runner has loaded an agent named 'asistant'",
                    "known": ["assistant", "echo"],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, Any]] | None = Field(
        default=None, description="where a request's shape is wrong: `loc`, `msg`"
    )


def _members(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    return {
        "type": f"urn:holdfast:problem:{code}",
        "title": _TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **more,
    }


PROBLEM_EXAMPLES = {
    str(status): _members(status, code, detail)
    for status, code, detail in (
        (401, "key_missing", "send an API key: Authorization: Bearer hf_…"),
        (404, "run_not_found", "there is no run 019a9b1e-7c5f-7a31-9f0e-2f6b1c9d8e7a"),
        (409, "thread_busy", "thread 'chat-42' has an active run"),
        (422, "invalid_request", "body.agent: Field required"),
        (429, "too_many_streams", "this key holds 10000 streams open here, as many as it may"),
        (503, "record_unavailable", "Postgres did not answer within 3 s"),
    )
}
"""For the OpenAPI page, by status."""


def problem(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem as a response; ``more`` are further members of it."""
    body = _members(status, code, detail, **more)
    return Response(to_json(body), status, headers=dict(headers or {}), media_type="application/problem+json")


def draining() -> Response:
    """This gateway is about to end: ask again, and another one will answer."""
    headers = {"Retry-After": "1", "Connection": "close"}
    return problem(503, "draining", "this gateway is stopping: ask again", headers=headers)


def record_away(detail: str) -> Response:
    """Postgres is away: try again."""
    return problem(503, "record_unavailable", detail, headers=_RETRY)


def _wrong_shape(error: RequestValidationError) -> Response:
    errors = [{"loc": list(each["loc"]), "msg": each["msg"]} for each in error.errors()]
    if any(each["type"] == "json_invalid" for each in error.errors()):
        return problem(400, "malformed_json", "the body is not JSON", errors=errors)
    first = errors[0] if errors else {"loc": [], "msg": "?"}
    where = ".".join(str(part) for part in first["loc"])
    return problem(422, "invalid_request", f"{where}: {first['msg']}", errors=errors)


def _no_key(error: KeyRefused) -> Response:
    return problem(401, error.code, error.message, headers={"WWW-Authenticate": 'Bearer realm="holdfast"'})


def _of_http(error: HTTPException) -> Response:
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return problem(error.status_code, code, str(error.detail), headers=error.headers)


_ANSWERS: dict[type[Exception], Callable[[Any], Response]] = {
    RequestValidationError: _wrong_shape,
    HTTPException: _of_http,
    KeyRefused: _no_key,
    NotFound: lambda error: problem(404, f"{error.what}_not_found", str(error)),
    Refused: lambda error: problem(_REFUSED_STATUS.get(error.code, 409), error.code, error.message),
    UnknownAgent: lambda error: problem(422, "unknown_agent", str(error), known=error.known),
    InvalidInput: lambda error: problem(422, "invalid_input", str(error), errors=error.problems),
    InvalidAnswer: lambda error: problem(422, "invalid_answer", str(error), errors=error.problems),
    StoreUnavailable: lambda error: record_away(str(error)),
    BusUnavailable: lambda error: problem(503, "bus_unavailable", str(error), headers=_RETRY),
    TooManyStreams: lambda error: problem(429, "too_many_streams", str(error), headers=_RETRY),
}


def answer_with_problems(app: FastAPI, record: Record) -> None:
    """Have ``app`` answer every error with a problem. One that nobody expected is a bug: it is logged, and tells nothing."""

    async def expected(_: Request, error: Exception) -> Response:
        if isinstance(error, StoreUnavailable):
            record.failed(error)
        return next(_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS)(error)

    async def bug(request: Request, error: Exception) -> Response:
        if isinstance(error, StreamReset):  # on purpose; its response has begun, so what is returned here is not sent
            return Response(status_code=503)
        log.error("request.failed", path=request.url.path, exc_info=error)
        return problem(500, "internal_error", "this is a bug of Holdfast; the gateway's log has the details")

    for kind in _ANSWERS:
        app.add_exception_handler(kind, expected)
    app.add_exception_handler(Exception, bug)
