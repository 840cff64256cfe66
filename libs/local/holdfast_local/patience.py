"""How long a caller waits for a gateway that was there before, with growing pauses between its tries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 2.0

OnLink = Callable[[str | None], None]
"""Told why a gateway stays away, and None when it is back."""


class Patience:
    """One caller's. A connection that broke and was made anew at once is no absence, and nobody is told of it."""

    def __init__(self, limit_s: float, on_link: OnLink | None) -> None:
        self.limit_s = limit_s
        self._on_link = on_link or (lambda _: None)
        self._away_since: float | None = None
        self._told = False
        self._pauses = _pauses()

    def back(self) -> None:
        """It answers."""
        if self._told:
            self._on_link(None)
        self._away_since, self._told, self._pauses = None, False, _pauses()

    async def pause(self, why: str, *, at_least_s: float = 0.0) -> bool:
        """A try has failed: wait before the next one. False when the gateway has been away for ``limit_s``."""
        now = asyncio.get_running_loop().time()
        if self._away_since is None:
            self._away_since = now
        elif not self._told:
            self._told = True
            self._on_link(why)
        if now - self._away_since > self.limit_s:
            return False
        await asyncio.sleep(max(next(self._pauses), min(at_least_s, PAUSE_MAX_S)))
        return True


def _pauses() -> Iterator[float]:
    """Doubling, to a limit, each up to a half longer by chance: viewers of one gateway do not come back all at once."""
    pause_s = PAUSE_FIRST_S
    while True:
        yield pause_s * random.uniform(1.0, 1.5)  # noqa: S311  # it spreads load and hides nothing
        pause_s = min(pause_s * 2, PAUSE_MAX_S)
