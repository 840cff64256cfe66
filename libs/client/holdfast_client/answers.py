"""What a gateway's answers mean: a success, or one of the client's errors. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from holdfast_client.errors import KeyRefused, NotAGateway, NotFound, Refused, Unreachable

M = TypeVar("M", bound=BaseModel)
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_REQUEST_TIMEOUT, _SERVER_ERRORS = 408, 500
_REFUSALS: Mapping[int, type[Refused]] = {401: KeyRefused, 404: NotFound}


def unreachable(error: httpx2.TransportError, url: str) -> Unreachable:
    """For an answer that never came whole."""
    if isinstance(error, httpx2.ConnectError) and "SSL" in str(error):
        return Unreachable(f"no safe connection to {url}: {error}", url=url, reached=False)
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Unreachable(f"no gateway at {url}", url=url, reached=False)
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"the gateway at {url} did not answer in time", url=url, reached=True)
    return Unreachable(f"the gateway at {url} broke the connection", url=url, reached=True)


def check(answer: httpx2.Response, url: str) -> None:
    """Return for a success. The answer has been read whole, or is a success.

    Raises:
        Unreachable: try again.
        Refused: the gateway said no.
        NotAGateway: an error that is no problem+json.
    """
    if answer.is_success:
        return
    problem = _problem(answer)
    code = str(problem.get("code", ""))
    # such as 520 to 530 of one that found no gateway
    is_a_proxys = not problem and (answer.status_code == _REQUEST_TIMEOUT or answer.status_code >= _SERVER_ERRORS)
    if answer.status_code in _TRY_AGAIN or is_a_proxys:
        after = answer.headers.get("retry-after", "")
        why = _words(problem) if problem else f"HTTP {answer.status_code}"
        raise Unreachable(
            f"the gateway at {url} cannot do it now: {why}",
            url=url,
            reached=True,
            status=answer.status_code,
            code=code,
            retry_after_s=float(after) if after.isdecimal() else 0.0,
        )
    if not problem:
        said = f"{answer.status_code} {answer.reason_phrase}".strip()
        elsewhere = f", pointing at {answer.headers['location']}" if "location" in answer.headers else ""
        raise NotAGateway(f"{url} answered {said}{elsewhere}: is it a Holdfast gateway?")
    kind = _REFUSALS.get(answer.status_code, Refused)
    raise kind(answer.status_code, code, _words(problem), errors=_errors(problem), problem=problem)


def json_of(answer: httpx2.Response) -> Any:
    """The JSON of an answer; None when it has no content.

    Raises:
        NotAGateway: it is something else.
    """
    if answer.status_code == 204:
        return None
    try:
        return answer.json()
    except ValueError as error:
        asked = answer.url.copy_with(userinfo=b"")
        raise NotAGateway(f"{asked} did not answer with JSON: is it a Holdfast gateway?") from error


def model_of(kind: type[M], shown: Any, url: str) -> M:
    """A model from JSON.

    Raises:
        NotAGateway: it has another shape.
    """
    try:
        return kind.model_validate(shown)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise NotAGateway(f"{url} does not answer as Holdfast does: {kind.__name__} {where}: {wrong['msg']}") from error


def _words(problem: Mapping[str, Any]) -> str:
    """The detail, what there is instead, and every place that is wrong, unless the detail names it already."""
    detail = str(problem.get("detail") or problem.get("title") or "it gives no reason")
    if known := problem.get("known"):
        detail += f"; there are {', '.join(map(str, known))}"
    for each in _errors(problem):
        words = str(each.get("msg", ""))
        where = ".".join(str(part) for part in each.get("loc") or () if part != "body")
        if words and words not in detail:
            detail += f"; {where}: {words}" if where else f"; {words}"
    return detail


def _errors(problem: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    errors = problem.get("errors")
    listed = errors if isinstance(errors, list) else []
    return [each if isinstance(each, Mapping) else {"msg": str(each)} for each in listed]


def _problem(answer: httpx2.Response) -> Mapping[str, Any]:
    """The problem+json of an answer; empty when it is none."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        problem = answer.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
