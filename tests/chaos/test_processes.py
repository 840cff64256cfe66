"""Random faults on every process under load: every run ends, and every viewer holds what the record holds."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from holdfast.runs import EventId
from holdfast_local.process import Process
from tests.support.stack import Stack
from tests.support.viewer import Viewer

pytestmark = pytest.mark.chaos

_CHUNKS = 40
_GOLDEN = "".join(f"chunk-{i} " for i in range(1, _CHUNKS + 1))
_RUNS = 8


async def test_faults_on_every_process(dice: random.Random, rounds: int) -> None:
    async with Stack() as stack:
        await stack.start(gateways=2, runners=3, reapers=2)
        for _ in range(rounds):
            await _one_round(stack, dice)


async def _one_round(stack: Stack, dice: random.Random) -> None:
    runs = [await stack.submit(f"many:{_CHUNKS}") for _ in range(_RUNS)]
    gateways = [stack.url("gateway-1"), stack.url("gateway-2")]
    viewers = [Viewer(lambda: dice.choice(gateways), run["id"]) for run in runs for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for viewer in viewers:
            group.create_task(viewer.follow(timeout_s=90.0))
        for _ in range(3):
            await _fault(stack, dice)
    for viewer in viewers:
        _ids_in_order([event.id for _, event in viewer.events])
        run = await stack.run(viewer.run_id)
        assert run["status"] == "completed", run
        assert viewer.fold.text == _GOLDEN, viewer.run_id
        assert await _recorded_text(stack, run) == _GOLDEN


async def _fault(stack: Stack, dice: random.Random) -> None:
    """One fault, and its end: the process runs again when this returns."""
    name = dice.choice([*stack.services, "nats", "postgres"])
    process: Process = {"nats": stack.nats, "postgres": stack.postgres}.get(name) or stack.services[name]
    kind = dice.choice(["kill", "kill", "freeze", "stop"])
    print(f"fault: {kind} {name}")
    if kind == "freeze":
        process.pause()
        await asyncio.sleep(dice.uniform(0.2, 8.0))  # the length of the fault
        process.resume()
    elif kind == "kill":
        process.kill()
    else:
        await process.stop()
    await process.start()
    await process.until_ready()


def _ids_in_order(ids: list[EventId]) -> None:
    """Rising, and without a gap within an attempt."""
    for before, after in itertools.pairwise(ids):
        assert before < after
        assert after.attempt > before.attempt or after.n == before.n + 1, (before, after)


async def _recorded_text(stack: Stack, run: dict[str, Any]) -> str:
    path = f"{stack.url()}/v1/threads/{run['thread_id']}/messages"
    messages = (await stack.http.get(path)).json()["items"]
    answer = [message for message in messages if message["role"] == "assistant" and message["run_id"] == run["id"]]
    assert len(answer) == 1
    return "".join(part["text"] for part in answer[0]["parts"] if part["type"] == "text")
