"""What a request costs NATS when 100,000 others stand before a pool's runners who take them one by one, the dearest way."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from uuid import uuid4

from nats.aio.client import Client

from bench.figures import Row, Say, ratios, spread
from bench.streams.meter import cpu_s
from holdfast.bus import names, topology
from holdfast.bus.connection import Link, close, connect
from holdfast.bus.publishing import publish
from holdfast.bus.pulling import Pulling
from holdfast_local.servers import NatsServer

_QUEUED = 100_000
_TAKEN = 200
_POOL = "default"
_RATIO_MAX = 1.5


async def taking(rounds: int, say: Say) -> list[Row]:
    """Taking requests from a short queue, and then from a long one."""
    short: list[float] = []
    long: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder))
        await server.start()
        try:
            client = await connect([server.url], Link("bench"))
            await topology.ensure(client, replicas=1)
            await topology.ensure_consumer(client, _POOL)
            assert server.pid is not None
            for number in range(rounds):
                await _queue(client, _TAKEN)
                short.append(await _take(client, server.pid))
                await _queue(client, _QUEUED)
                long.append(await _take(client, server.pid))
                await client.jetstream().purge_stream(names.REQUESTS_STREAM)
                say(
                    f"requests {number + 1} of {rounds}: {short[-1]:.0f} µs each, with {_QUEUED:,} queued {long[-1]:.0f}"
                )
            await close(client)
        finally:
            await server.stop()
    each = ratios(long, short)
    median_long, median_short = statistics.median(long), statistics.median(short)
    figure = f"{median_long:,.0f} µs of NATS's computing; with {_TAKEN} queued {median_short:,.0f}; ratio {spread(each, '.2f')}"
    return [
        Row(
            f"a runner takes one request with {_QUEUED:,} queued",
            figure,
            f"ratio ≤ {_RATIO_MAX}",
            statistics.median(each) <= _RATIO_MAX,
            bars=((f"Holdfast, {_QUEUED:,} queued", median_long), (f"{_TAKEN} queued", median_short)),
            unit="µs",
            timed=False,  # computing time
        )
    ]


async def _queue(client: Client, count: int) -> None:
    for start in range(0, count, 500):
        await asyncio.gather(
            *(
                publish(client, names.request_subject(_POOL, uuid4()), b"{}", timeout_s=10.0)
                for _ in range(min(500, count - start))
            )
        )


async def _take(client: Client, server: int) -> float:
    """µs of the server's computing for each of some requests."""
    arrived = asyncio.Event()
    pulling = Pulling(client, _POOL, on_arrival=arrived.set)
    await pulling.open()
    before = cpu_s(server)
    for _ in range(_TAKEN):
        await pulling.ask(1)
        while not (messages := pulling.take()):
            arrived.clear()
            await arrived.wait()
        await messages[0].ack()
    await client.flush()
    used_s = cpu_s(server) - before
    await pulling.close()
    return used_s * 1e6 / _TAKEN
