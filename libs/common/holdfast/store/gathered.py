"""Natural batching: calls that come while a statement is in flight share the next one, and each is told its own outcome.

Nothing waits for company: a call that finds no statement in flight goes at once, alone. So an idle system is as quick as without,
and a busy one pays one round trip and one commit for many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from holdfast.errors import Retryable

A = TypeVar("A")
R = TypeVar("R")
_HELD_UP_S = 0.05


class Gathered(Generic[A, R]):
    """One kind of call, of which many may be made at once.

    A call that is cancelled is left out when its batch has not gone yet; one in flight is carried through.

    Args:
        do: does a batch; returns an outcome for each item, in their order. An outcome that is an exception is raised where the
            item came from.
        items_max: of a batch.
        in_flight_max: batches at a time. A second one goes when the newest has been in flight for long and somebody waits: one
            row that somebody else has locked must not hold up everybody.
        weigh: how much an item counts, such as its bytes.
        weight_max: of a batch of several.
    """

    def __init__(
        self,
        do: Callable[[Sequence[A]], Awaitable[Sequence[R | Exception]]],
        *,
        items_max: int,
        in_flight_max: int = 4,
        weigh: Callable[[A], int] = lambda _: 0,
        weight_max: int = 0,
    ) -> None:
        self._do = do
        self._items_max = items_max
        self._in_flight_max = in_flight_max
        self._weigh = weigh
        self._weight_max = weight_max
        self._waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._newest_at = 0.0
        self._looking: asyncio.TimerHandle | None = None

    async def __call__(self, item: A) -> R:
        """Have it done with others. Raises what its own outcome is, or what the batch failed with."""
        outcome: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, outcome))
        if not self._lanes:
            self._open_lane()
        elif self._looking is None:
            self._pass_by()
        return await outcome

    def _open_lane(self) -> None:
        loop = asyncio.get_running_loop()
        self._newest_at = loop.time()
        self._lanes.add(loop.create_task(self._go(), name="gathered"))

    def _pass_by(self) -> None:
        """Open another lane if those that are there are held up, or look again when they may be."""
        self._looking = None
        if not self._waiting or len(self._lanes) >= self._in_flight_max:
            return
        loop = asyncio.get_running_loop()
        if (held_up_at := self._newest_at + _HELD_UP_S) <= loop.time():
            self._open_lane()
        else:
            self._looking = loop.call_at(held_up_at, self._pass_by)

    async def _go(self) -> None:
        """Batches, one after the other, while there is something to do. It leaves in the same go in which it sees that nothing
        is: a call that comes after has to start the next one."""
        batch: list[tuple[A, asyncio.Future[R]]] = []
        try:
            while self._waiting:
                batch = self._next()
                if batch:
                    self._newest_at = asyncio.get_running_loop().time()
                    await self._carry_out(batch)
        except BaseException:  # it is cancelled, with its loop: nobody may wait for what will not come
            for _, outcome in (*batch, *self._waiting):
                outcome.cancel()
            self._waiting.clear()
            raise
        finally:
            self._lanes.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _next(self) -> list[tuple[A, asyncio.Future[R]]]:
        batch: list[tuple[A, asyncio.Future[R]]] = []
        weight = 0
        while self._waiting and len(batch) < self._items_max:
            item, outcome = self._waiting[0]
            weight += self._weigh(item)
            if batch and weight > self._weight_max:
                break
            self._waiting.popleft()
            if not outcome.done():  # else its caller has gone
                batch.append((item, outcome))
        return batch

    async def _carry_out(self, batch: Sequence[tuple[A, asyncio.Future[R]]]) -> None:
        try:
            told = await self._do([item for item, _ in batch])
            outcomes = list(zip(batch, told, strict=True))
        except Exception as error:
            if len(batch) == 1 or isinstance(error, Retryable):
                for _, outcome in batch:
                    if not outcome.done():
                        outcome.set_exception(error)
                return
            for one in batch:  # what one of them cannot have must not cost the others
                if not one[1].done():
                    await self._carry_out([one])
            return
        for (_, outcome), result in outcomes:
            if outcome.done():
                continue
            if isinstance(result, Exception):
                outcome.set_exception(result)
            else:
                outcome.set_result(result)
