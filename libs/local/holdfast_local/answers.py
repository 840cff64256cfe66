"""What a gateway's answers mean, and their words for the user. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from holdfast.errors import Retryable, Terminal

_TRY_AGAIN = frozenset({429, 502, 503, 504})
_ADVICE = {
    "not_interrupted": "`holdfast fork` is for runs that have ended",
    "run_active": "`holdfast cancel` ends it",
    "not_waiting_yet": "try again in a moment",
    "unknown_position": "`holdfast show` lists the positions of its journal",
    "already_answered": "`holdfast show` tells what it does now",
    "question_not_found": "`holdfast answer RUN` alone lists what it asks",
    "not_queued": "`holdfast queue THREAD` lists what is queued",
}
"""What to do about a refusal, by its code."""


class NoGateway(Retryable):
    """Nobody answers there, or not any more."""


class NotAGateway(Terminal):
    """Something answers there that is not Holdfast."""


class KeyNotUsable(Terminal):
    """What was given as an API key cannot be sent as one."""


class ApiRefused(Terminal):
    """The gateway said no. ``status`` is HTTP's, ``code`` the stable one of the problem."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Away(Exception):
    """A request that may work if tried again: its answer was lost, or the gateway said so.

    ``reached`` says whether anybody was there to take it.
    """

    def __init__(self, why: str, *, reached: bool, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.reached = reached
        self.retry_after_s = retry_after_s

    @classmethod
    def because(cls, error: httpx2.TransportError, url: str) -> Away:
        """For an answer that never came whole."""
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return cls(f"no gateway at {url}: is `holdfast up` running?", reached=False)
        if isinstance(error, httpx2.TimeoutException):
            return cls(f"the gateway at {url} did not answer in time", reached=True)
        return cls(f"the gateway at {url} broke the connection", reached=True)


def check(answer: httpx2.Response, url: str, *, has_key: bool) -> None:
    """Return for a success. The answer has been read whole.

    Raises:
        Away: try again.
        ApiRefused: the gateway said no.
        NotAGateway: an error that is no problem+json.
    """
    if answer.is_success:
        return
    problem = _problem(answer)
    detail = str(problem.get("detail") or problem.get("title") or "it gives no reason")
    if known := problem.get("known"):
        detail += f"; there are {', '.join(map(str, known))}"
    detail = _with_errors(detail, problem.get("errors"))
    if advice := _ADVICE.get(str(problem.get("code"))):
        detail += f"; {advice}"
    if answer.status_code in _TRY_AGAIN:
        after = answer.headers.get("retry-after", "")
        why = detail if problem else f"HTTP {answer.status_code}"
        raise Away(
            f"the gateway at {url} cannot do it now: {why}",
            reached=True,
            retry_after_s=float(after) if after.isdecimal() else 0.0,
        )
    if answer.status_code == 401:
        detail = (
            f"the gateway at {url} refuses this key: {detail}"
            if has_key
            else f"the gateway at {url} wants a key: give one with --key or HOLDFAST_KEY"
        )
    elif not problem:
        said = f"{answer.status_code} {answer.reason_phrase}".strip()
        raise NotAGateway(f"{url} answered {said}: is it a Holdfast gateway?")
    raise ApiRefused(answer.status_code, str(problem.get("code", "")), detail)


def json_of(answer: httpx2.Response) -> Any:
    """The JSON of an answer.

    Raises:
        NotAGateway: it has none.
    """
    try:
        return answer.json()
    except ValueError as error:
        raise NotAGateway(f"{answer.url} did not answer with JSON: is it a Holdfast gateway?") from error


def _with_errors(detail: str, errors: Any) -> str:
    """Every place that is wrong, unless the detail names it already."""
    for each in errors if isinstance(errors, list) else ():
        words = str(each.get("msg", "")) if isinstance(each, Mapping) else str(each)
        loc = each.get("loc") if isinstance(each, Mapping) else None
        where = ".".join(str(part) for part in loc or () if part != "body")
        if words and words not in detail:
            detail += f"; {where}: {words}" if where else f"; {words}"
    return detail


def _problem(answer: httpx2.Response) -> Mapping[str, Any]:
    """The problem+json of an answer; empty when it is none."""
    if not answer.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        problem = answer.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
