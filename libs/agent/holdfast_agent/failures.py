"""How work fails, in three classes: worth another try, final, or for a person to decide.

Raise these from within a step. What else a step raises counts as :class:`RetryableError` while its ``retry`` names it
(``Retry(on=...)``), and as final otherwise.
"""

from __future__ import annotations

from enum import StrEnum

from holdfast.errors import AgentFailed
from holdfast_agent.retry import Retry


class RetryableError(AgentFailed):
    """The same work may go well if tried again: a timeout, a busy service."""

    def __init__(self, message: str, *, code: str = "step_error") -> None:
        super().__init__(code, message, retryable=True)


class PermanentError(AgentFailed):
    """Trying again gives the same: a wrong argument, a refusal."""

    def __init__(self, message: str, *, code: str = "step_error") -> None:
        super().__init__(code, message)


class NeedsPersonError(AgentFailed):
    """A person must look: the run waits, shows what happened, and goes on as it is told: done, with this result; again; fail."""

    def __init__(self, message: str, *, code: str = "needs_person") -> None:
        super().__init__(code, message)


class ChildFailedError(AgentFailed):
    """A child run did not complete. ``status`` is how it ended, ``run_id`` which it was."""

    def __init__(self, message: str, *, run_id: str, status: str) -> None:
        super().__init__("child_failed", message)
        self.run_id = run_id
        self.status = status


class FailureClass(StrEnum):
    """What may be done about a failure."""

    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    NEEDS_PERSON = "needs_person"


def classify(error: BaseException, retry: Retry) -> FailureClass:
    """Which class an error of a step's work is of, under the step's retry policy."""
    if isinstance(error, NeedsPersonError):
        return FailureClass.NEEDS_PERSON
    if isinstance(error, AgentFailed):
        return FailureClass.RETRYABLE if error.retryable else FailureClass.PERMANENT
    return FailureClass.RETRYABLE if isinstance(error, retry.on) else FailureClass.PERMANENT
