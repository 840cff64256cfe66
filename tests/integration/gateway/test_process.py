"""The gateway as a process: its start, its drain, its refusals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID, uuid4

import httpx2
import pytest

from holdfast.bus.connection import Link, close, connect
from holdfast.runs import Owner
from holdfast.store import Database, owner
from holdfast_local.ports import free_ports
from holdfast_local.servers import NatsServer
from tests.integration.gateway.hands import Hands
from tests.integration.gateway.stream import Stream
from tests.integration.gateway.world import CHAT, ECHO
from tests.support.wait import wait_until


class Process:
    """``python -m holdfast_gateway`` with an environment."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def exit(self, *, timeout_s: float = 15.0) -> tuple[int, str]:
        """Wait for its end: exit code and what it said on standard error."""
        async with asyncio.timeout(timeout_s):
            _, said = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, said.decode()


Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(postgres_url: str, shared_nats: NatsServer) -> AsyncIterator[Start]:
    """Start a gateway; ``wait=False``: do not wait until it is ready."""
    started: list[Process] = []

    async def begin(*, wait: bool = True, **env: str) -> Process:
        port = free_ports(1)[0]
        own = {
            "HOLDFAST_POSTGRES_URL": postgres_url,
            "HOLDFAST_NATS_URL": shared_nats.url,
            "HOLDFAST_PORT": str(port),
            "HOLDFAST_AUTH": "none",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast_gateway",
            env={**os.environ, **own, **env}, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        gateway = Process(process, port)
        started.append(gateway)
        if wait:
            await wait_until(lambda: _ready(gateway.url), description="it is ready", timeout_s=20.0)
        return gateway

    yield begin
    for each in started:
        if each.process.returncode is None:
            each.process.kill()
            await each.process.communicate()


async def _ready(url: str) -> bool:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"{url}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False


async def test_a_drain_resets_streams_answers_those_who_wait_and_ends_well(
    start: Start, postgres_url: str, shared_nats: NatsServer
) -> None:
    gateway = await start()
    db = Database(postgres_url, pool_size=2, timeout_s=5.0)
    await owner.say_agents(db, Owner("runner-1", uuid4()), "default", [ECHO])
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=20.0) as client:
        body = {"agent": "echo", "input": CHAT}
        run = (await client.post("/v1/runs", json=body)).json()
        quiet = await Stream.open(f"{gateway.url}/v1/runs/{run['id']}/events", headers={})
        unread = await Stream.open(f"{gateway.url}/v1/runs/{run['id']}/events", headers={})
        await quiet.until("run.queued")
        unread.paused.clear()
        waiting = asyncio.create_task(client.post("/v1/runs?wait_s=60", json=body))

        async def both() -> bool:
            return len((await client.get("/v1/runs")).json()["items"]) == 2

        await wait_until(both, description="the second run is there")
        begun = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        answer = await waiting
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        await quiet.until_end("cut")
        unread.paused.set()
        await unread.until_end("cut")
        code, said = await gateway.exit()
        assert code == 0, said
        assert time.monotonic() - begun < 5.0
        assert "Traceback" not in said
        with pytest.raises(httpx2.ConnectError):
            await client.get("/healthz")
    for stream in (quiet, unread):
        await stream.close()
    await db.close()


async def test_f31_a_run_goes_on_when_its_gateway_is_killed_and_another_one_shows_it(
    start: Start, postgres_url: str, shared_nats: NatsServer
) -> None:
    first, second = await asyncio.gather(start(), start())
    db = Database(postgres_url, pool_size=2, timeout_s=5.0)
    client = await connect([shared_nats.url], Link("test"), keep_pending=False)
    await owner.say_agents(db, Owner("runner-1", uuid4()), "default", [ECHO])
    async with httpx2.AsyncClient(timeout=20.0) as http:
        run = (await http.post(f"{first.url}/v1/runs", json={"agent": "echo", "input": CHAT})).json()
        stream = await Stream.open(f"{first.url}/v1/runs/{run['id']}/events", headers={})
        hands = await Hands.claim(db, client, UUID(run["id"]), "runner-1")
        await hands.begin_step("0")
        await hands.text("0", "a")
        await stream.until("text.delta")
        first.process.kill()
        await stream.until_end("cut")
        await hands.text("0", "b")
        rest = await Stream.open(
            f"{second.url}/v1/runs/{run['id']}/events", headers={"Last-Event-ID": str(stream.last_id)}
        )
        await hands.end_step("0")
        await hands.finish()
        await rest.until_end()
        assert stream.ids + rest.ids == ["0-1", *(f"1-{n}" for n in range(1, 7))]
    for each in (stream, rest):
        await each.close()
    await close(client)
    await db.close()


async def test_no_keys_and_a_public_address_is_refused(start: Start) -> None:
    gateway = await start(wait=False, HOLDFAST_HOST="0.0.0.0")
    code, said = await gateway.exit()
    assert code == 78
    assert "HOLDFAST_AUTH=none" in said
    assert "Traceback" not in said


async def test_a_taken_port_is_said_in_one_line(start: Start) -> None:
    gateway = await start()
    port = gateway.url.rsplit(":", 1)[1]
    other = await start(wait=False, HOLDFAST_PORT=port)
    code, said = await other.exit()
    assert code != 0
    assert f"port {port}" in said
    assert "Traceback" not in said


async def test_a_stop_while_everything_is_away_is_quick(start: Start) -> None:
    gateway = await start(
        wait=False, HOLDFAST_NATS_URL="nats://127.0.0.1:1", HOLDFAST_POSTGRES_URL="postgresql://x@127.0.0.1:1/x"
    )

    async def listens() -> bool:
        async with httpx2.AsyncClient() as client:
            try:
                return (await client.get(f"{gateway.url}/healthz")).status_code == 200
            except httpx2.TransportError:
                return False

    await wait_until(listens, description="it listens")
    begun = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    code, said = await gateway.exit()
    assert code == 0, said
    assert time.monotonic() - begun < 5.0
