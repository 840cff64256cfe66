"""Each of the examples for clients does what the page on them says, on a whole Holdfast.

That of the AI SDK is run where the SDK's other tests are (``tests/integration/ai_sdk``).
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from holdfast.wire import events
from holdfast_local.ports import free_ports
from tests.support.stack import Stack
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / "examples" / "clients"
_TEXT = "".join(f"chunk-{n} " for n in range(1, 61))  # of the mock model's answer to many:60

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Script:
    """A running example. ``out`` is what it has printed so far, standard error too."""

    process: asyncio.subprocess.Process
    out: bytes = b""
    code: int | None = None
    _reading: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(65536):
            self.out += chunk
        self.code = await self.process.wait()

    async def says(self, what: str) -> None:
        """Wait until it has printed this."""

        def said() -> bool:
            assert self.code is None or what.encode() in self.out, self.out.decode()
            return what.encode() in self.out

        await wait_until(said, description=f"{what!r} in {self.out!r}", timeout_s=20.0)

    async def ends_well(self) -> str:
        """Wait for its end; returns all that it has printed."""
        await wait_until(lambda: self.code is not None, description=f"the end after {self.out!r}", timeout_s=40.0)
        assert self.code == 0, self.out.decode()
        return self.out.decode()

    async def stop(self) -> None:
        """Kill it, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self._reading

    def hears(self, words: str) -> None:
        """Type something into it."""
        assert self.process.stdin is not None
        self.process.stdin.write(words.encode())


@asynccontextmanager
async def running(stack: Stack, name: str, *args: str, **env: str) -> AsyncIterator[Script]:
    """Run an example against the stack."""
    command = {".py": (sys.executable, "-u"), ".sh": ("bash",)}[Path(name).suffix]
    process = await asyncio.create_subprocess_exec(
        *command,
        str(CLIENTS / name),
        *args,
        env={**os.environ, "HOLDFAST_URL": stack.url(), **env},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    script = Script(process)
    try:
        yield script
    finally:
        await script.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def runner(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One runner, which has the built-in agents and the tutorial's that asks."""
    env = {
        "HOLDFAST_AGENTS": str(ROOT / "examples" / "refund.py"),
        "LEDGER_FOLDER": str(tmp_path_factory.mktemp("paid")),
    }
    await stack.add("runner", "runner-1", env)


# -- following -----------------------------------------------------------------------------------------------------------


async def test_f41_every_way_to_follow_goes_on_where_a_killed_gateway_left_it(stack: Stack) -> None:
    gateway = stack.services["gateway-1"]
    polled = await stack.submit("many:60")
    async with (
        running(stack, "follow.sh", "many:60") as follow,
        running(stack, "poll.sh", polled["id"]) as poll,
        running(stack, "ask.py", "many:60") as ask,
        running(stack, "ask_sync.py", "many:60") as ask_sync,
    ):
        for script in (follow, poll, ask, ask_sync):
            await script.says("chunk-5 ")
        gateway.kill()
        await gateway.start()
        followed = [await script.ends_well() for script in (follow, poll, ask, ask_sync)]
    _has_all_events_once(followed[0])
    assert followed[1].count('"type":"text.delta"') == 60
    assert '"next":"1-65","more":false,"ended":true,' in followed[1].splitlines()[-1]
    assert f"completed …{_TEXT[-60:]}" in followed[2]
    assert followed[2].rstrip().endswith(f"{{'text': '{_TEXT}'}}")
    assert followed[3] == f"{_TEXT}\n{{'text': '{_TEXT}'}}\n"


def _has_all_events_once(stream: str) -> None:
    """Read what curl has printed as a client would: comments and curl's own words do not count, nor does half an event."""
    blocks = (block + "\n\n" for block in stream.split("\n\n"))
    frames = [events.decode(block.encode()) for block in blocks if block.startswith("id: ") and "\ndata: " in block]
    ids = [event.id for event in frames]
    assert len(set(ids)) == len(ids)
    assert "".join(event.data["text"] for event in frames if event.type == "text.delta") == _TEXT
    assert frames[-1].type == "run.completed"


# -- answering, watching, being told -------------------------------------------------------------------------------------


async def test_the_refund_is_approved_by_whoever_sits_there_and_the_board_shows_it(stack: Stack) -> None:
    async with running(stack, "board.py") as board:
        await board.says("['runner-1']")
        async with running(stack, "approve.py", "250") as approve:
            await approve.says("[y/n] ")
            await board.says("refund waiting")
            approve.hears("y\n")
            assert await approve.ends_well() == "Pay 250 cents back? [y/n] {'cents': 250}\n"
        await board.says("refund completed")


async def test_the_receiver_believes_holdfast_and_nobody_else(stack: Stack) -> None:
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/hook"
    async with running(stack, "webhook_receiver.py", WEBHOOK_SECRET=secret, PORT=str(port)) as receiver:
        forged = {"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,bm8="}

        async def refuses() -> bool:
            try:
                return (await stack.http.post(url, headers=forged, json={})).status_code == 401
            except httpx2.TransportError:
                return False

        await wait_until(refuses, description="the receiver listens, and refuses what is not signed")
        run = await stack.submit("tell them", webhook={"url": url, "secret": secret})
        await receiver.says(f"run.completed {run['id']}\n")
        first = await _delivered(stack, run["id"], other_than=None)
        await stack.http.post(f"{stack.url()}/v1/webhooks/deliveries/{first['id']}/replay")
        await _delivered(stack, run["id"], other_than=first["delivered_at"])
        assert receiver.out.decode().count("run.completed") == 1


async def _delivered(stack: Stack, run_id: str, *, other_than: str | None) -> dict[str, Any]:
    """The run's only message, once it is delivered, at another time than then."""
    found: list[dict[str, Any]] = []

    async def is_delivered() -> bool:
        answer = await stack.http.get(f"{stack.url()}/v1/webhooks/deliveries", params={"run_id": run_id})
        found[:] = answer.json()["items"]
        return found[0]["delivered_at"] not in (None, other_than)

    await wait_until(is_delivered, description=f"the message of run {run_id} is delivered")
    assert len(found) == 1
    return found[0]
