"""The client's errors, one tree.

HoldfastClientError
├── Unreachable          nobody answers there, not any more, or not now: it may work if tried again
├── NotAGateway          something answers there that is not Holdfast, or the URL is none
├── KeyNotUsable         what was given as an API key cannot be sent as one
├── Refused              the gateway said no; `status`, `code`, `message`, `errors`
│   ├── KeyRefused       401: it wants a key, or does not take this one
│   └── NotFound         404: no such thing for this key's tenant
├── RunFailed            the run has failed; `code`, `message`
├── RunCancelled         the run was cancelled
├── RunInterrupted       the run has stopped and waits for somebody to resume it; `code`, `message`
└── RunWaiting           the run waits for a person; `questions`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast_client.models import Wait


class HoldfastClientError(Exception):
    """The root of all errors that the client raises on purpose."""


class Unreachable(HoldfastClientError):
    """No gateway answers, or it cannot do it now.

    Attributes:
        why: what is the matter, without for how long it was tried.
        url: of the gateway.
        reached: somebody was there to take the request, so it may have been carried out.
        status: the answer's, where there was one: 429, 502, 503, 504, or another that only a proxy gives.
        code: the problem's, such as ``draining``; empty when there is none.
        retry_after_s: how long it asks to be left alone.
        gave_up_after_s: how long it was tried again; None: it was not.
    """

    def __init__(
        self,
        why: str,
        *,
        url: str,
        reached: bool,
        status: int | None = None,
        code: str = "",
        retry_after_s: float = 0.0,
        gave_up_after_s: float | None = None,
    ) -> None:
        super().__init__(why if gave_up_after_s is None else f"{why}; gave up after {gave_up_after_s:g} s")
        self.why = why
        self.url = url
        self.reached = reached
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.gave_up_after_s = gave_up_after_s

    @property
    def not_begun(self) -> bool:
        """Surely nothing was done about the request."""
        return not self.reached or self.code in _NOT_BEGUN

    def given_up(self, after_s: float) -> Unreachable:
        """The same, after it was tried again for so long."""
        return Unreachable(
            self.why,
            url=self.url,
            reached=self.reached,
            status=self.status,
            code=self.code,
            gave_up_after_s=after_s,
        )


_NOT_BEGUN = frozenset({"draining", "too_many_streams"})


class NotAGateway(HoldfastClientError):
    """What answers there is not Holdfast, or nothing could: the URL is none."""


class KeyNotUsable(HoldfastClientError):
    """The key has characters that no header can carry. The message does not show it."""


class Refused(HoldfastClientError):
    """The gateway said no. Trying again gives the same.

    Attributes:
        status: HTTP's.
        code: stable, such as ``thread_busy``; the API's page lists them.
        message: for a person, and this error's text: the detail, every place that is wrong, and what there is instead.
        errors: of a request's shape or of an input: ``{"loc": […], "msg": "…"}``.
        problem: the whole problem+json.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors
        self.problem = problem or {}


class KeyRefused(Refused):
    """It wants an API key, or does not take this one."""


class NotFound(Refused):
    """There is no such thing, or it is another tenant's."""


class _Stopped(HoldfastClientError):
    """A run stands still, for a reason."""

    def __init__(self, run_id: str, status: str, error: Mapping[str, Any] | None) -> None:
        self.run_id = run_id
        self.code = str((error or {}).get("code", ""))
        self.message = str((error or {}).get("message", ""))
        why = f": {self.code}: {self.message}" if self.code else ""
        super().__init__(f"run {run_id} {status}{why}")


class RunFailed(_Stopped):
    """The run has failed. ``code`` is stable, such as ``crash_loop``; ``message`` is for a person."""


class RunCancelled(_Stopped):
    """The run was cancelled."""


class RunInterrupted(_Stopped):
    """The run has stopped, keeps what it has finished, and goes on when somebody resumes it."""


class RunWaiting(HoldfastClientError):
    """The run waits for a person: answer one of ``questions``, and wait for its result again."""

    def __init__(self, run_id: str, questions: Sequence[Wait]) -> None:
        super().__init__(f"run {run_id} waits for {len(questions)} answer{'s' if len(questions) != 1 else ''}")
        self.run_id = run_id
        self.questions = questions
