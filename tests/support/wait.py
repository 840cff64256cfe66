"""Waiting for a condition, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

_POLL_INTERVAL_S = 0.01


async def wait_until(
    predicate: Callable[[], object | Awaitable[object]], *, description: str, timeout_s: float = 10.0
) -> None:
    """Return as soon as ``predicate()`` is true; it may be a coroutine function. Its errors are the caller's.

    Raises:
        AssertionError: it was not true within ``timeout_s``; the message carries ``description``.
    """
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while not await _value(predicate):  # noqa: ASYNC110 - conditions of other processes set no event here
                await asyncio.sleep(_POLL_INTERVAL_S)
    except TimeoutError:
        if not limit.expired():
            raise
        raise AssertionError(f"waited {timeout_s:g} s in vain for: {description}") from None


async def _value(predicate: Callable[[], object | Awaitable[object]]) -> object:
    value = predicate()
    return await value if inspect.isawaitable(value) else value
