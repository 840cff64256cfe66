"""Ending a task for certain."""

from __future__ import annotations

import asyncio
from typing import Any

_AGAIN_AFTER_S = 0.5


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and return when it has ended.

    One cancel is not always enough: ``asyncio.wait_for`` of Python 3.11, which nats-py waits with, forgets a cancellation that
    comes together with what it waits for.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_AGAIN_AFTER_S)
