"""Followers and the reader over a record in memory: whatever happens, each follower's fold is the record."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import metrics
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.settings import GatewaySettings
from holdfast.store import feed as record
from holdfast.store.feed import ActiveRun, Change, ChangeId, Changes, Reading, Standing
from holdfast_gateway.auth import Caller
from holdfast_gateway.feed import reader
from holdfast_gateway.feed.follower import Follower
from holdfast_gateway.feed.reader import Feed
from tests.support.wait import wait_until

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_TENANTS = ("one", "two")
_OVER = ("completed", "deleted")


class Memory:
    """A record: changes in order, those that are complete, those that are forgotten."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Change]] = []
        self.runs: dict[str, dict[UUID, Change]] = {tenant: {} for tenant in _TENANTS}
        self.forgotten = ChangeId(0, 0)
        self.open_from = 1  # the first transaction that readers do not see yet
        self.next_xid = 1
        self.away = False
        self.readings = self.at_once = self.at_once_max = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def change(self, tenant: str, run: int, status: str, *, attempt: int = 0) -> None:
        """A change commits."""
        place = ChangeId(self.next_xid, len(self.changes) + 1)
        self.next_xid += 1
        change = Change(place, UUID(int=run), "t", "echo", status, attempt, cancelling=False, at=_AT)
        self.changes.append((tenant, change))
        if status in _OVER:
            self.runs[tenant].pop(change.run_id, None)
        else:
            self.runs[tenant][change.run_id] = change

    def close_transactions(self) -> None:
        """Nothing is open any more."""
        self.open_from = self.next_xid

    def forget(self, keep: int) -> None:
        """All but the newest of those that are complete are gone."""
        complete = [change.place for _, change in self.changes if change.place.xid < self.open_from]
        gone = complete[: max(0, len(complete) - keep)]
        if gone:
            self.forgotten = max(self.forgotten, gone[-1])

    async def read(self, _: object, places: Mapping[str, ChangeId], *, limit: int) -> Reading:
        """As :func:`holdfast.store.feed.changes`."""
        await asyncio.sleep(0)
        self.readings += 1
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.away:
            raise StoreUnavailable("away")
        horizon, of_tenant = ChangeId(self.open_from, 0), {}
        for tenant, place in places.items():
            found = [
                change for of, change in self.changes
                if of == tenant and max(place, self.forgotten) < change.place < horizon
            ][:limit]  # fmt: skip
            more = len(found) == limit
            upto = found[-1].place if more else max(horizon, place)
            of_tenant[tenant] = Changes(found, upto, more, place < self.forgotten or place.xid > self.next_xid)
        await self.may_answer.wait()
        return Reading(of_tenant, horizon, held_back=self.open_from < self.next_xid)

    async def standing(self, _: object, tenant: str, *, limit: int) -> Standing:
        """As :func:`holdfast.store.feed.standing`."""
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        runs = [
            ActiveRun(run_id, "t", "echo", last.status, last.attempt, cancelling=False, created_at=_AT, at=_AT)
            for run_id, last in self.runs[tenant].items()
        ]
        return Standing(ChangeId(self.open_from, 0), runs[:limit], more=len(runs) > limit)


class NoNats:
    """A carrier without a connection."""

    @property
    def client(self) -> Any:
        raise BusUnavailable("away")


class Client:
    """Reads a follower's chunks when told to; folds them; may go away and come back with its cursor."""

    def __init__(self, feed: Feed, tenant: str) -> None:
        self.tenant = tenant
        self.runs: dict[str, str] = {}
        self.cursor: ChangeId | None = None
        self.ids: list[ChangeId] = []
        self.snapshots = 0
        self.follower: Follower
        self._feed = feed
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._step: asyncio.Task[bytes] | None = None

    def connect(self) -> None:
        """Follow, from the cursor on."""
        self.follower = self._feed.follow(Caller(self.tenant, operator=False, key="k"), self.cursor)
        self._chunks = self.follower.chunks()

    async def take(self) -> bool:
        """Take a chunk if there is one."""
        if self._chunks is None:
            self.connect()
        assert self._chunks is not None
        self._step = self._step or asyncio.ensure_future(anext(self._chunks))
        for _ in range(40):
            await asyncio.sleep(0)
            if self._step.done():
                self._fold(self._step.result())
                self._step = None
                return True
        return False

    async def leave(self) -> None:
        """Go away."""
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait({self._step})
            self._step = None
        if self._chunks is not None:
            await self._chunks.aclose()
            self._chunks = None

    def _fold(self, chunk: bytes) -> None:
        for frame in chunk.decode().split("\n\n")[:-1]:
            if frame.startswith(":"):
                continue
            lines = dict(line.split(": ", 1) for line in frame.split("\n"))
            data = json.loads(lines["data"])
            if lines["event"] == "snapshot":
                self.snapshots += 1
                self.runs = {run["id"]: run["status"] for run in data["runs"]}
                assert data["pods"] is None
            elif data["status"] in _OVER:
                self.runs.pop(data["run_id"], None)
            else:
                self.runs[data["run_id"]] = data["status"]
            self.cursor = ChangeId.parse(lines["id"])
            if lines["event"] == "run.changed":
                self.ids.append(self.cursor)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    made = Memory()
    _use(made, monkeypatch)
    return made


def _use(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "changes", memory.read)
    monkeypatch.setattr(record, "standing", memory.standing)
    monkeypatch.setattr(reader, "_CHANGES_MAX", 3)


def _feed(queue_bytes_max: int = 64 * 1024) -> Feed:
    limits = GatewaySettings().model_copy(update={"viewer_queue_bytes_max": queue_bytes_max})
    return Feed(None, NoNats(), limits)  # type: ignore[arg-type] # neither is asked for anything


async def _drain(feed: Feed, *clients: Client) -> None:
    """Until nobody has anything left to show."""
    quiet = 0
    while quiet < 3:
        took = [await client.take() for client in clients]
        more = await feed._tick()
        quiet = 0 if more or any(took) else quiet + 1


def _acts(chance: random.Random) -> Iterator[tuple[str, Any]]:
    """A history: changes above all, and clients that read, go away and come back."""
    statuses = ("queued", "running", "completed")
    for _ in range(chance.randint(20, 120)):
        match chance.choices(("change", "take", "tick", "leave", "rare"), (8, 8, 4, 2, 1))[0]:
            case "change":
                yield "change", (chance.choice(_TENANTS), chance.randint(0, 5), chance.choice(statuses))
            case "take" | "leave" as act:
                yield act, chance.randint(0, 3)
            case "tick":
                yield "tick", None
            case _:
                yield (
                    chance.choice(("open", "close", "close", "away", "there", "there", "forget")),
                    chance.randint(0, 4),
                )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), queue_bytes=st.sampled_from([300, 1000, 10_000]))
def test_f41_whatever_happens_each_follower_ends_with_the_record(seed: int, queue_bytes: int) -> None:
    async def play() -> None:
        memory = Memory()
        with pytest.MonkeyPatch.context() as patch:
            _use(memory, patch)
            patch.setattr("holdfast_gateway.feed.follower._RETRY_PAUSE_S", 0.0)
            feed = _feed(queue_bytes)
            clients = [Client(feed, tenant) for tenant in (*_TENANTS, *_TENANTS)]
            held = False
            for act, with_ in _acts(random.Random(seed)):
                match act:
                    case "change":
                        memory.change(*with_)
                        if not held:
                            memory.close_transactions()
                    case "open":
                        held = True
                    case "close":
                        held = False
                        memory.close_transactions()
                    case "away" | "there":
                        memory.away = act == "away"
                    case "forget":
                        memory.forget(with_)
                    case "tick":
                        await feed._tick()
                    case "take":
                        await clients[with_].take()
                    case "leave":
                        await clients[with_].leave()
            memory.away = False
            memory.close_transactions()
            try:
                await asyncio.wait_for(_drain(feed, *clients), 20)
                for client in clients:
                    active = {str(run_id): last.status for run_id, last in memory.runs[client.tenant].items()}
                    assert client.runs == active
                    assert client.ids == sorted(set(client.ids)), "each once, in order"
                    if client.snapshots == 1 and client.ids:
                        mine = [at.place for of, at in memory.changes if of == client.tenant]
                        assert client.ids == mine[-len(client.ids) :], "none left out"
            finally:
                for client in clients:
                    await client.leave()

    asyncio.run(play())


async def test_f39_a_slow_follower_is_dropped_to_its_own_reading_and_misses_nothing(memory: Memory) -> None:
    feed = _feed()
    slow, fast = Client(feed, "one"), Client(feed, "one")
    await _drain(feed, slow, fast)
    for n in range(800):
        memory.change("one", n, "queued")
        memory.close_transactions()
        if n % 3 == 0:
            await feed._tick()
            await fast.take()
        assert slow.follower._queued_bytes <= 64 * 1024
    assert slow.follower not in feed._followed["one"].followers, "it has dropped out"
    assert fast.follower in feed._followed["one"].followers
    await _drain(feed, slow, fast)
    assert slow.ids == fast.ids
    assert len(slow.ids) == 800
    assert (slow.snapshots, fast.snapshots) == (1, 1)
    for client in (slow, fast):
        await client.leave()


async def test_who_joins_while_the_reader_reads_for_those_before_is_not_passed_over(memory: Memory) -> None:
    memory.change("one", 1, "queued")
    memory.close_transactions()
    feed = _feed()
    first, second = Client(feed, "one"), Client(feed, "one")
    await _drain(feed, first)
    memory.change("one", 2, "queued")
    memory.close_transactions()
    second.connect()
    second.follower.place = ChangeId(0, 0)
    memory.may_answer.clear()
    reading = asyncio.create_task(feed._tick())
    await wait_until(lambda: memory.readings >= 2, description="the reader to read")
    await first.leave()
    assert feed.join(second.follower)
    memory.may_answer.set()
    await reading
    assert feed._followed["one"].place == ChangeId(0, 0), "what was read is after another place"
    feed.leave(second.follower)


async def test_many_who_come_back_with_one_cursor_are_one_reading(memory: Memory) -> None:
    memory.change("one", 1, "queued")
    memory.close_transactions()
    feed = _feed()
    clients = [Client(feed, "one") for _ in range(50)]
    for client in clients:
        client.cursor = ChangeId(0, 0)
    await asyncio.gather(*(client.take() for client in clients))
    assert [len(client.ids) for client in clients] == [1] * 50
    assert memory.readings <= 3
    for client in clients:
        await client.leave()


async def test_of_many_who_come_back_with_cursors_of_their_own_a_few_read_at_once(memory: Memory) -> None:
    for n in range(30):
        memory.change("one", n, "queued")
    memory.close_transactions()
    feed = _feed()
    clients = [Client(feed, "one") for _ in range(30)]
    for client, (_, change) in zip(clients, memory.changes, strict=True):
        client.cursor = change.place
    await asyncio.gather(*(client.take() for client in clients))
    await _drain(feed, *clients)
    assert [len(client.ids) for client in clients] == list(reversed(range(30)))
    assert memory.at_once_max == 2
    for client in clients:
        await client.leave()


async def test_a_reader_without_followers_reads_nothing_and_ends_with_the_last(memory: Memory) -> None:
    feed = _feed()
    keeping = asyncio.create_task(feed.keep())
    client = Client(feed, "one")

    async def joined() -> bool:
        await client.take()
        return bool(feed._followed)

    await wait_until(joined, description="the follower to join")
    before = memory.readings
    await wait_until(lambda: memory.readings > before, description="readings")
    await client.leave()
    assert not feed.count
    assert not feed._followed
    read = memory.readings
    for _ in range(100):
        await asyncio.sleep(0)
    assert memory.readings <= read + 1
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


async def test_changes_that_a_long_transaction_holds_back_are_said_once(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(reader.log, "warning", lambda event, **fields: said.append({"event": event, **fields}))
    feed = _feed()
    feed._watch_horizon(Reading({}, ChangeId(5, 0), held_back=True))
    feed._held_back_since = asyncio.get_running_loop().time() - 11
    for _ in range(3):
        feed._watch_horizon(Reading({}, ChangeId(5, 0), held_back=True))
    assert [(each["event"], each["transaction"]) for each in said] == [("feed.held_back", 5)]
    assert metrics.FEED_HELD_BACK._value.get() >= 11
    feed._watch_horizon(Reading({}, ChangeId(6, 0), held_back=False))
    assert metrics.FEED_HELD_BACK._value.get() == 0


async def test_when_nobody_follows_any_more_nothing_is_said_to_be_held_back(memory: Memory) -> None:
    feed = _feed()
    follower = feed.follow(Caller("one", operator=False, key="k"), ChangeId(1, 0))
    assert feed.join(follower)
    metrics.FEED_HELD_BACK.set(11.0)
    feed.leave(follower)
    assert metrics.FEED_HELD_BACK._value.get() == 0
