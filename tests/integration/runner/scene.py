"""What a test of runners works with: a pool of its own on shared servers, runs, their logs, and runners here or as processes.

Runs are submitted as a gateway does it, and logs read and folded as a viewer does it, but no gateway is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4

from faststream.nats import NatsBroker
from nats.aio.client import Client

from holdfast.bus import connection, event_log, names, requests
from holdfast.errors import BusUnavailable
from holdfast.runs import TERMINAL, EventId, Fold
from holdfast.settings import RunnerSettings
from holdfast.store import Database, JournalStep, RunRow, caller
from holdfast.store.rows import AttemptRow, MessageRow
from holdfast.wire import events
from holdfast.wire.events import Event
from holdfast_agent.load import Loaded, load
from holdfast_local.service import Service
from holdfast_runner.service import Runner
from tests.support.stack import Stack
from tests.support.wait import wait_until

AGENTS = Path(__file__).with_name("scripted_agents.py")
TENANT = "default"


@dataclass
class Here:
    """A runner in this process."""

    runner: Runner
    settings: RunnerSettings
    stop: asyncio.Event
    task: asyncio.Task[None]

    async def drain(self) -> None:
        """Stop it in good order; raises what it ended with."""
        self.stop.set()
        async with asyncio.timeout(20):
            await self.task


@dataclass
class Scene:
    """``async with Scene(stack) as scene``: everything in it uses one pool that nobody else uses."""

    stack: Stack
    pool: str = field(default_factory=lambda: f"p{uuid4().hex[:8]}")

    async def __aenter__(self) -> Self:
        self._exits = AsyncExitStack()
        self.db = Database(self.stack.postgres.url, pool_size=4, timeout_s=5.0)
        self._exits.push_async_callback(self.db.close)
        link = connection.Link("test")
        self.broker: NatsBroker = connection.make_broker([self.stack.nats.url], link)
        self.client: Client = await connection.start(self.broker, link)
        self._exits.push_async_callback(connection.stop, self.broker)
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in [name for name in self.stack.services if name.startswith(self.pool)]:
            self.stack.services.pop(name).kill()
            if links := self.stack.links.pop(name, None):
                await links.postgres.__aexit__()
                await links.nats.__aexit__()
        await self._exits.aclose()

    # -- runners -----------------------------------------------------------------------------------------------------

    async def process(self, name: str, *, proxied: bool = False, ready: bool = True, **env: str) -> Service:
        """A runner as a process; its pod is ``<pool>-<name>``."""
        ours = {"HOLDFAST_POOL": self.pool, "HOLDFAST_AGENTS": str(AGENTS), **env}
        return await self.stack.add("runner", self.pod(name), ours, proxied=proxied, ready=ready)

    async def exit_code(self, service: Service, *, timeout_s: float = 20.0) -> int:
        """Wait until a process has ended by itself."""
        async with asyncio.timeout(timeout_s):
            return await service.exited()

    def pod(self, name: str) -> str:
        """The whole name of a pod."""
        return f"{self.pool}-{name}"

    def settings(self, name: str, **fields: Any) -> RunnerSettings:
        """Settings of a runner in this process, as those of the processes."""
        ours: dict[str, Any] = {
            "postgres_url": self.stack.postgres.url,
            "nats_url": (self.stack.nats.url,),
            "POD_NAME": self.pod(name),
            "pool": self.pool,
            "heartbeat_interval_s": float(self.stack.env["HOLDFAST_HEARTBEAT_INTERVAL_S"]),
            "heartbeat_ttl_s": int(self.stack.env["HOLDFAST_HEARTBEAT_TTL_S"]),
            "event_bytes_max": 2 * 1024 * 1024,
        }
        return RunnerSettings(**{**ours, **fields})

    @asynccontextmanager
    async def here(
        self,
        name: str = "here",
        *,
        agents: Callable[[Loaded], None] = lambda _: None,
        ready: bool = True,
        **fields: Any,
    ) -> AsyncIterator[Here]:
        """A runner in this process, drained at the end; ``agents`` may change what it has loaded."""
        settings = self.settings(name, **fields)
        loaded = load([str(AGENTS)])
        agents(loaded)
        stop = asyncio.Event()
        runner = Runner(settings, loaded)
        here = Here(runner, settings, stop, asyncio.create_task(runner.run(stop)))
        try:
            if ready:

                async def is_ready() -> bool:
                    return here.task.done() or not await runner.not_ready()

                await wait_until(is_ready, description=f"{name} is ready", timeout_s=20)
            yield here
        finally:
            stop.set()
            await asyncio.wait({here.task}, timeout=40)
        if not here.task.cancelled() and (error := here.task.exception()) is not None:
            raise error

    # -- runs --------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        *script: Any,
        agent: str = "script",
        thread: str | None = None,
        text: str | None = None,
        request: bool = True,
        **more: Any,
    ) -> UUID:
        """Submit a run of ``script`` (or, with ``text``, of a chat agent), as a gateway does."""
        asked = {"messages": [{"role": "user", "content": text}]} if text is not None else {"script": list(script)}
        submit = caller.Submit(
            run_id=uuid4(),
            tenant_id=TENANT,
            thread_id=thread or uuid4().hex,
            make_thread=True,
            agent=agent,
            pool=self.pool,
            input={**asked, **more},
            metadata={},
        )
        run_id = (await caller.submit(self.db, submit)).run.id
        if request:
            await self.request(run_id)
        return run_id

    async def request(self, run_id: UUID) -> None:
        """Ask for a runner, until NATS takes it."""

        async def asked() -> bool:
            try:
                await requests.publish(self.broker, self.pool, run_id)
            except BusUnavailable:
                return False
            return True

        await wait_until(asked, description=f"NATS takes the request for {run_id}", timeout_s=20)

    async def requests_left(self) -> int:
        """How many requests of this pool the stream holds."""
        info = await self.client.jetstream().stream_info(
            names.REQUESTS_STREAM, subjects_filter=names.request_subject(self.pool, "*")
        )
        return len(info.state.subjects or {})

    async def row(self, run_id: UUID) -> RunRow:
        """A run, as the record has it."""
        return await caller.run(self.db, TENANT, run_id)

    async def until(self, run_id: UUID, *statuses: str, attempt: int = 0, timeout_s: float = 20.0) -> RunRow:
        """Wait until a run has one of these statuses, in this attempt or a later one."""
        seen: list[RunRow] = []

        async def reached() -> bool:
            seen.append(await self.row(run_id))
            return seen[-1].status in statuses and seen[-1].attempt >= attempt

        what = f"run {run_id} is {' or '.join(statuses)} in attempt {attempt} or later"
        await wait_until(reached, description=what, timeout_s=timeout_s)
        return seen[-1]

    async def steps(self, run_id: UUID) -> list[JournalStep]:
        """A run's journal."""
        return await caller.steps(self.db, run_id)

    async def attempts(self, run_id: UUID) -> list[AttemptRow]:
        """A run's attempts."""
        return await caller.attempts(self.db, run_id)

    async def messages(self, run_id: UUID) -> list[MessageRow]:
        """What the record's transcript has of a run."""
        thread_id = (await self.row(run_id)).thread_id
        rows = await caller.messages(self.db, TENANT, thread_id, after=0, limit=200)
        return [row for row in rows if row.run_id == run_id]

    # -- logs --------------------------------------------------------------------------------------------------------

    async def events(self, run_id: UUID) -> list[Event]:
        """The log, as it is."""
        frames = [
            frame async for each in event_log.read(self.client, run_id, 0) for frame in events.split(each.payload)
        ]
        return [events.decode(frame) for frame in frames]

    async def until_event(
        self, run_id: UUID, event_type: str, *, count: int = 1, timeout_s: float = 20.0
    ) -> list[Event]:
        """Wait until the log has so many events of a type; returns the log."""
        log: list[Event] = []

        async def there() -> bool:
            try:
                log[:] = await self.events(run_id)
            except BusUnavailable:
                return False
            return sum(event.type == event_type for event in log) >= count

        await wait_until(there, description=f"{count} x {event_type} in the log of {run_id}", timeout_s=timeout_s)
        return log

    async def whole(self, run_id: UUID, *, gaps: bool = False, timeout_s: float = 20.0) -> tuple[RunRow, list[Event]]:
        """Wait for a run's end and its terminal event, and hold log and record against each other.

        Ids grow; within an attempt they are contiguous (not with ``gaps``: the log was lost for a while). What a viewer of all of
        it shows is what the record's transcript holds, and it has seen the end that the record has.
        """
        row = await self.until(run_id, *TERMINAL, timeout_s=timeout_s)
        log = await self.until_event(run_id, f"run.{row.status}", timeout_s=timeout_s)
        _check_ids([event.id for event in log], gaps=gaps)
        fold = Fold()
        for event in log:
            assert fold.apply(event.id, event.type, event.data)
        assert fold.ending is not None
        assert (fold.ending.type, str(fold.ending.id)) == (f"run.{row.status}", row.terminal_event_id)
        assert fold.text == await self.answer(run_id)
        return row, log

    async def answer(self, run_id: UUID) -> str:
        """The text of the record's answer; there is one answer."""
        answers = [message for message in await self.messages(run_id) if message.role == "assistant"]
        assert len(answers) == 1
        return "".join(part["text"] for part in answers[0].parts if part["type"] == "text")


def _check_ids(ids: Sequence[EventId], *, gaps: bool) -> None:
    assert ids == sorted(set(ids)), "ids grow"
    by_attempt: dict[int, list[int]] = {}
    for each in ids:
        by_attempt.setdefault(each.attempt, []).append(each.n)
    if not gaps:
        for attempt, numbers in by_attempt.items():
            assert numbers == list(range(1, len(numbers) + 1)), f"attempt {attempt} has no gap"


def types(log: Sequence[Event]) -> list[str]:
    """The types of events, in order."""
    return [event.type for event in log]


def first(log: Sequence[Event], event_type: str) -> Event:
    """The first event of a type."""
    return next(event for event in log if event.type == event_type)
