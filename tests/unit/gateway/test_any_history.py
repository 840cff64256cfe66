"""Whatever happened to a run and to its log, whoever follows it to its end holds what the record holds.

The real viewers, tails and continuity over a log and a record in memory, in a loop that lets time pass by itself: an owner that
dies, hands over, loses touch; a log that is trimmed, torn, cut short or made anew; live messages that get lost; servers that are
away for a moment; clients that are slow, go, and come back at another gateway with their cursor; streams and polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import StoreUnavailable
from holdfast.runs import Fold
from holdfast.runs.fold import TERMINAL_TYPES
from holdfast.wire.events import decode, split
from holdfast_gateway.auth import EVERYBODY
from holdfast_gateway.following import check_cursor
from holdfast_gateway.viewer import Viewer
from tests.support.samples import examples
from tests.unit.gateway.fake_system import FakeGateway, FakeSystem
from tests.unit.gateway.instant_loop import run
from tests.unit.gateway.run_history import Append, Lose, RunHistory, run_histories

_PATIENCE_S = 300.0  # of the loop's own time
_POLLS_KEPT_S = 6.0


async def _live(system: FakeSystem, history: RunHistory) -> None:
    """The run happens. Events that nothing was committed between may go together, unless the log is to lose some of them."""
    may_join = not any(isinstance(act, Lose) and act.last for act in history.acts)
    gathered: list[bytes] = []
    for act, following in zip(history.acts, [*history.acts[1:], None], strict=True):
        if isinstance(act, Append):
            gathered.append(act.frame)
            if may_join and isinstance(following, Append) and system.chance.random() < 0.3:
                continue
            system.act(Append(b"".join(gathered)))
            gathered.clear()
        else:
            system.act(act)
        await asyncio.sleep(system.chance.choice((0, 0, 0.001, 0.01, 0.3, 3)))


async def _follow(system: FakeSystem, gateways: list[FakeGateway], fold: Fold) -> None:
    """One client: it reads to the run's end over as many connections and polls as it takes."""
    chance = system.chance
    await asyncio.sleep(chance.choice((0, 0.01, 1, 5, 20)))
    slow, polls = chance.random() < 0.3, chance.random() < 0.3
    ticket: str | None = None
    while fold.ending is None or fold.ending.type not in TERMINAL_TYPES:
        with contextlib.suppress(StoreUnavailable):
            row = (await system.take_picture()).run
            if fold.last_id is not None:
                check_cursor(row, fold.last_id)  # type: ignore[arg-type]  # it has what is looked at
            gateway = chance.choice(gateways)
            if polls and chance.random() < 0.9:
                wait_s = chance.choice((0, 1, 30))
                polled = await gateway.polls.poll(EVERYBODY, row, fold.last_id, wait_s=wait_s, ticket=ticket)
                ticket = polled.ticket
                _fold(fold, b"".join(polled.frames))
                assert not polled.ended or fold.ending is not None, f"ended after {fold.last_id}"
            elif await _connect(gateway.tails.view(row, fold.last_id), fold, chance, slow=slow):
                assert fold.ending is not None, f"a clean end after {fold.last_id}"
        await asyncio.sleep(chance.choice((0, 0.05, 1)))


async def _connect(viewer: Viewer, fold: Fold, chance: random.Random, *, slow: bool) -> bool:
    """One connection, whose server may take bytes at once. True: it ended cleanly; False: the client left."""

    def write(chunk: bytes) -> Awaitable[None] | None:
        assert not busy, "two writes at a time"
        _fold(fold, chunk)
        return sent() if slow and chance.random() < 0.3 else None

    async def sent() -> None:
        busy.append(1)
        await asyncio.sleep(chance.choice((0, 0.02, 0.5)))
        busy.clear()

    busy: list[int] = []
    if chance.random() < 0.5:
        viewer.write_through(write)
    async with contextlib.aclosing(viewer.chunks()) as chunks:
        async for chunk in chunks:
            assert not busy, "two writes at a time"
            _fold(fold, chunk)
            if chance.random() < 0.1:
                return False
            if slow:
                await asyncio.sleep(chance.choice((0, 0.02, 0.5)))
    return True


def _fold(fold: Fold, chunk: bytes) -> None:
    for one in split(chunk):
        if not one.startswith(b":"):
            event = decode(one)
            assert fold.apply(event.id, event.type, event.data), f"{event.id} after {fold.last_id}"


async def _everything(history: RunHistory, chance: random.Random, viewers: int) -> list[Fold]:
    system = FakeSystem(chance)
    folds = [Fold() for _ in range(viewers)]
    system.act(history.acts[0])
    with system.in_place():
        gateways = [system.gateway(queue_bytes_max=300) for _ in range(2)]
        keepers = [asyncio.create_task(gateway.tails.keep_true()) for gateway in gateways]
        try:
            async with asyncio.timeout(_PATIENCE_S), asyncio.TaskGroup() as group:
                group.create_task(_live(system, history))
                for fold in folds:
                    group.create_task(_follow(system, gateways, fold))
            await asyncio.sleep(_POLLS_KEPT_S)
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.wait(keepers)
        assert [gateway.tails.count for gateway in gateways] == [0, 0]
    return folds


@settings(max_examples=examples(250))
@given(run_histories(), st.integers(0, 2**32 - 1))
def test_every_viewer_ends_with_what_the_record_holds(history: RunHistory, seed: int) -> None:
    for fold in run(_everything(history, random.Random(seed), viewers=3)):
        assert fold.ending is not None
        assert fold.ending.type == f"run.{history.status}"
        assert fold.text == history.text
