"""Runs with a viewer each, and what a bench asks of them in the end: was anything lost, doubled or taken away?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise, takewhile
from typing import Any

from holdfast.runs import EventId
from tests.support.stack import Stack
from tests.support.viewer import Viewer
from tests.support.wait import wait_until

TALKING = {
    "agent": "assistant",
    "input": {
        "messages": [{"role": "user", "content": "many:50000"}]
    },  # a piece every 50 ms, for longer than any bench
}
_FOLLOW_TIMEOUT_S = 900.0
_END_TIMEOUT_S = 30.0


class FollowedRun:
    """A run and its viewer. Made by :meth:`begin`; :meth:`end` cancels the run."""

    def __init__(self, stack: Stack, run_id: str) -> None:
        self._stack = stack
        self.viewer = Viewer(stack.url, run_id)
        self._following = asyncio.create_task(self.viewer.follow(timeout_s=_FOLLOW_TIMEOUT_S))

    @classmethod
    async def begin(cls, stack: Stack, wanted: Mapping[str, Any], *, first: str) -> FollowedRun:
        """Submit a run, and return when its viewer has seen an event of the type ``first``."""
        answer = await stack.http.post(f"{stack.url()}/v1/runs", json=wanted)
        answer.raise_for_status()
        run = cls(stack, answer.json()["id"])
        await run.viewer.until(first)
        return run

    @property
    def is_over(self) -> bool:
        """Has its stream ended?"""
        return self._following.done()

    async def end(self) -> None:
        """Cancel the run, and wait for the end of its stream."""
        await self._stack.http.post(f"{self._stack.url()}/v1/runs/{self.viewer.run_id}/cancel")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._following, _END_TIMEOUT_S)

    async def until_shown(self, event_type: str, *, more: int, since: float, timeout_s: float = 60.0) -> None:
        """Wait until so many events of a type have come since then."""

        def shown() -> bool:
            newest = takewhile(lambda each: each[0] > since, reversed(self.viewer.events))
            return sum(event.type == event_type for _, event in newest) >= more

        what = f"{more} x {event_type} more in the stream of {self.viewer.run_id}"
        await wait_until(shown, description=what, timeout_s=timeout_s)

    def longest_pause(self, since: float) -> tuple[float, float]:
        """The longest time without an event from ``since`` on (monotonic, as below): when it began, and when it ended."""
        times = [since, *(at for at, _ in self.viewer.events if at > since)]
        return max(pairwise(times), key=lambda pause: pause[1] - pause[0])

    def next_of(self, event_type: str, since: float) -> float:
        """When the first event of a type came, at ``since`` or after."""
        return next(at for at, event in self.viewer.events if at >= since and event.type == event_type)

    def wrong_ids(self) -> int:
        """How often an event's id was not the one that follows on the one before it: some were lost, or came twice.

        A snapshot replaces all before it, whatever that was.
        """
        events = [event for _, event in self.viewer.events]
        return sum(
            after.id not in (before.id.next(), EventId(before.id.attempt + 1, 1))
            for before, after in pairwise(events)
            if "snapshot" not in (before.type, after.type)
        )

    def snapshots(self) -> int:
        """How often the log was replaced."""
        return self.viewer.types().count("snapshot")


async def all_go_on(runs: Sequence[FollowedRun], event_type: str) -> None:
    """Until every viewer has seen ten more events of a type."""
    now = time.monotonic()
    await asyncio.gather(*(run.until_shown(event_type, more=10, since=now) for run in runs))


async def reclaims(stack: Stack) -> int:
    """Attempts that ended because their owner was held dead, over all runs."""
    count = 0
    for run in (await stack.http.get(f"{stack.url()}/v1/runs", params={"limit": 200})).json()["items"]:
        attempts = (await stack.http.get(f"{stack.url()}/v1/runs/{run['id']}/attempts")).json()
        count += sum(attempt["ended_why"] == "owner_lost" for attempt in attempts["items"])
    return count
