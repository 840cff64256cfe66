"""The client's errors in words for who types commands: what to start, to give or to call next. Sends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import holdfast_client
from holdfast.errors import Retryable, Terminal

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


@contextmanager
def in_words(
    url: str, *, has_key: bool, after_giving_up: str | None = None, after_reaching: str | None = None
) -> Iterator[None]:
    """Have the client's errors raised as those of this module.

    ``after_giving_up`` is added when a gateway that was there stayed away, ``after_reaching`` when it may have done what it was
    asked for.
    """
    try:
        yield
    except holdfast_client.Unreachable as away:
        words: list[str | None] = [why_away(away)]
        if away.gave_up_after_s is not None:
            words += [f"gave up after {away.gave_up_after_s:g} s", after_giving_up]
        elif away.reached:
            words += [after_reaching]
        raise NoGateway("; ".join(filter(None, words))) from away
    except holdfast_client.NotAGateway as error:
        raise NotAGateway(str(error)) from error
    except holdfast_client.KeyNotUsable as error:
        raise KeyNotUsable(
            "the API key of --key or HOLDFAST_KEY has a space, a line break or another character that no key has: "
            "give it as `holdfast keys create` printed it"
        ) from error
    except holdfast_client.Refused as refused:
        raise ApiRefused(refused.status, refused.code, _refusal(refused, url, has_key=has_key)) from refused


def why_away(away: holdfast_client.Unreachable) -> str:
    """What is the matter with a gateway that is away."""
    nobody = f"no gateway at {away.url}"
    return f"{nobody}: is `holdfast up` running?" if away.why == nobody else away.why


def _refusal(refused: holdfast_client.Refused, url: str, *, has_key: bool) -> str:
    if isinstance(refused, holdfast_client.KeyRefused):
        if has_key:
            return f"the gateway at {url} refuses this key: {refused.message}"
        return f"the gateway at {url} wants a key: give one with --key or HOLDFAST_KEY"
    advice = _ADVICE.get(refused.code)
    return f"{refused.message}; {advice}" if advice else refused.message
