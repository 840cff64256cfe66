"""Drives the measuring of streams: for each crowd, the gateway and the bare loop in turn, in one round, by the same client.

So a machine that is busy with other things disturbs both alike, and their ratio holds where the figures themselves do not. A
round is, for each of the two: viewers connect; one event, so that all are there; events at a calm pace (the time from append to
socket, and computing time for an event that comes alone); events as fast as they are read (delivered per second, and computing
time for one of many). Figures are medians of the rounds; they say when others had much of the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import nats
import psutil
from nats.aio.client import Client

from bench.figures import Row
from bench.streams import writer
from bench.streams.cases import PACED_S, Case
from bench.streams.crowd import PATIENCE_S, Children, Viewers
from bench.streams.meter import Meter, Used, cpu_s, resident_bytes
from bench.streams.rows import Taken, in_short, rows
from bench.streams.writer import Log
from holdfast.store import Database
from holdfast_local.ports import free_ports
from tests.support.stack import Stack
from tests.support.wait import wait_until

Say = Callable[[str], None]
_FLOOD_S = 4.0


class Bench:
    """One round's servers: a gateway and a bare loop, both new, and who talks to them."""

    def __init__(self, case: Case, stack: Stack, client: Client, number: int) -> None:
        self._case, self._stack, self._client = case, stack, client
        self._name = f"{case.viewers}-{case.runs}-{number}"
        self._children = Children(stack.folder, self._name)

    async def start(self) -> None:
        """Start both servers."""
        self._gateway = await self._stack.add("gateway", f"gateway-{self._name}")
        self._bare_port = free_ports(1)[0]
        self._bare = self._children.start("bench.streams.bare", str(self._bare_port), self._stack.nats.url)

        async def listens() -> bool:
            try:
                _, opened = await asyncio.open_connection("127.0.0.1", self._bare_port)
            except OSError:
                return False
            opened.close()
            return True

        await wait_until(listens, description="the bare loop listens", timeout_s=30.0)

    def stop(self) -> None:
        """Kill both."""
        self._children.kill()
        self._gateway.kill()

    async def begin(self, count: int) -> list[Log]:
        """New runs for viewers to follow."""
        db = Database(self._stack.postgres.url, pool_size=4, timeout_s=10.0)
        try:
            return await writer.begin_runs(count, url=f"http://{self._gateway.where}", db=db, client=self._client)
        finally:
            await db.close()

    async def measure(self, side: str, logs: list[Log]) -> Taken:
        """One server."""
        pid = self._gateway.pid if side == "gateway" else self._bare.pid
        port = int(self._gateway.where.rpartition(":")[2]) if side == "gateway" else self._bare_port
        assert pid is not None
        [first] = await self.begin(1)
        async with asyncio.timeout(PATIENCE_S):
            with Viewers(self._children, port, [first], 1) as alone:  # what the first viewer alone costs is nobody's
                await alone.connected()
                await writer.once(self._client, [first])
                await alone.have(1)
            before, cpu_before = resident_bytes(pid), cpu_s(pid)
            with Viewers(self._children, port, logs, self._case.viewers) as viewers:
                connect_s = await viewers.connected()
                await writer.once(self._client, logs)
                await viewers.have(self._case.viewers)
                grown, cpu = resident_bytes(pid) - before, cpu_s(pid) - cpu_before
                watched = await self._watch(viewers, logs, pid)
                return Taken(connect_s, cpu, viewers.refused, grown / self._case.viewers, *watched)

    async def _watch(self, viewers: Viewers, logs: list[Log], pid: int) -> tuple[list[int], Used, int, Used, int, bool]:
        """Latencies; what the calm time used, and how much it delivered; the same of the flood; did each event come once?"""
        case = self._case
        have = case.viewers  # the one event that each has by now
        taken = viewers.probes.sampled
        meter = Meter(pid, self._ours(viewers))
        await writer.paced(self._client, logs, count=case.paced, over_s=PACED_S)
        have += case.paced * case.each
        await viewers.have(have)
        paced = meter.read()
        latencies = list(viewers.probes.samples_since(taken))
        meter = Meter(pid, self._ours(viewers))
        sent = await writer.flood(
            self._client,
            logs,
            window=case.window,
            for_s=_FLOOD_S,
            arrived=lambda: viewers.received / case.each,
        )
        have += sent * case.each
        await viewers.have(have)
        flood = meter.read()
        await asyncio.sleep(0.2)  # would anything come twice?
        exact = viewers.received == have and viewers.lost == 0
        return latencies, paced, case.paced * case.each, flood, sent * case.each, exact

    def _ours(self, viewers: Viewers) -> list[int]:
        postgres = psutil.Process(self._stack.postgres.pid)
        nats_pid = self._stack.nats.pid
        assert nats_pid is not None
        backends = [child.pid for child in postgres.children(recursive=True)]
        assert self._gateway.pid is not None
        return [postgres.pid, *backends, nats_pid, self._gateway.pid, self._bare.pid, *viewers.pids]


async def measure(case: Case, rounds: int, say: Say) -> list[Row]:
    """All rounds of a case, as rows of the report."""
    taken: dict[str, list[Taken]] = {"gateway": [], "bare": []}
    async with Stack(env={"HOLDFAST_LOG_LEVEL": "info"}) as stack:
        client = await nats.connect(stack.nats.url)
        try:
            for number in range(rounds):
                bench = Bench(case, stack, client, number)
                await bench.start()
                try:
                    for side in ("gateway", "bare") if number % 2 == 0 else ("bare", "gateway"):
                        taken[side].append(await bench.measure(side, await bench.begin(case.runs)))
                        say(f"{number + 1} of {rounds}: {side}, {in_short(taken[side][-1])}")
                finally:
                    bench.stop()
        finally:
            await client.close()
    return rows(case, taken["gateway"], taken["bare"])
