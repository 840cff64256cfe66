"""How often a step is tried, how long between, and which errors are worth another try."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import RetryCallState, wait_exponential, wait_random


@dataclass(frozen=True, slots=True)
class Retry:
    """``tries`` in all (1: never again), with an exponential back-off and jitter between them, in seconds.

    ``on`` names the exceptions that are worth another try, besides those that say so themselves (``RetryableError``).
    """

    tries: int = 3
    first_delay_s: float = 0.25
    delay_s_max: float = 4.0
    on: tuple[type[Exception], ...] = (Exception,)

    def delay_s(self, failures: int) -> float:
        """How long to wait after so many failures (1 or more)."""
        wait = wait_exponential(multiplier=self.first_delay_s, max=self.delay_s_max) + wait_random(
            0, self.first_delay_s
        )
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # the policy reads only the attempt's number
        state.attempt_number = failures
        return float(wait(state))


ONCE = Retry(tries=1)
"""Never again."""
