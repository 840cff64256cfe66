"""How long a caller waits for a gateway that was there before, with growing pauses between its tries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

from holdfast_client.errors import Unreachable

PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 2.0
RETRY_AFTER_MAX_S = 30.0
_HELD_S = 5.0

OnLink = Callable[[Unreachable | None], None]
"""Told why a gateway stays away, and None when it is back."""


class Patience:
    """One caller's. A connection that broke and was made anew at once is no absence, and nobody is told of it.

    Args:
        limit_s: it ends when nothing has moved for so long.
        on_link: is told, once for an absence.
    """

    def __init__(self, limit_s: float, on_link: OnLink | None = None) -> None:
        self.limit_s = limit_s
        self._on_link = on_link
        self._away_since: float | None = None
        self._connected_at: float | None = None
        self._told = False
        self._pauses = _pauses()

    def connected(self) -> None:
        """It answers."""
        self._connected_at = _now()
        if self._told and self._on_link is not None:
            self._on_link(None)
        self._told = False

    def moved(self) -> None:
        """It has done something, or held a connection for a while. What only takes connections and breaks them is away still,
        or callers would never give up."""
        self._connected_at = None
        if self._away_since is not None:
            self._away_since, self._pauses = None, _pauses()

    async def pause(self, away: Unreachable) -> None:
        """A try has failed: wait before the next one.

        Raises:
            Unreachable: it has been away for ``limit_s``.
        """
        now = _now()
        if self._connected_at is not None and now - self._connected_at > _HELD_S:
            self.moved()
        self._connected_at = None
        if self._away_since is None:
            self._away_since = now
        elif not self._told:
            self._told = True
            if self._on_link is not None:
                self._on_link(away)
        left_s = self._away_since + self.limit_s - now
        if left_s <= 0:
            raise away.given_up(self.limit_s) from away
        pause_s = max(next(self._pauses), min(away.retry_after_s, RETRY_AFTER_MAX_S))
        await asyncio.sleep(min(pause_s, left_s + PAUSE_FIRST_S))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _pauses() -> Iterator[float]:
    """Doubling, to a limit, each up to a half longer by chance: callers of one gateway do not come back all at once."""
    pause_s = PAUSE_FIRST_S
    while True:
        yield pause_s * random.uniform(1.0, 1.5)  # noqa: S311  # it spreads load and hides nothing
        pause_s = min(pause_s * 2, PAUSE_MAX_S)
