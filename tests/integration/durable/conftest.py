"""One whole Holdfast for the tests of waiting: a runner with a single slot, a world outside that counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.support.kills.counter import CounterServer
from tests.support.kills.twelve_steps import COUNTER_ENV
from tests.support.stack import Stack
from tests.support.wait import wait_until

AGENTS = str(Path(__file__).with_name("waiting_agents.py"))


@dataclass
class Waits:
    """A stack, and what runs do to the world outside."""

    stack: Stack
    counter: CounterServer

    async def submit(self, agent: str, run_input: Any, **body: Any) -> str:
        """A run's id."""
        answer = await self.stack.http.post(
            f"{self.stack.url()}/v1/runs", json={"agent": agent, "input": run_input, **body}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of a call below ``/v1``."""
        answer = await self.stack.http.request(method, f"{self.stack.url()}/v1{path}", json=body)
        return answer.status_code, answer.json()

    async def steps(self, run_id: str) -> list[dict[str, Any]]:
        """A run's journal."""
        _, page = await self.call("GET", f"/runs/{run_id}/steps?limit=200")
        return list(page["items"])

    async def question(self, run_id: str) -> dict[str, Any]:
        """What a run asks, once it does."""
        found: list[dict[str, Any]] = []

        async def asked() -> bool:
            run = await self.stack.run(run_id)
            found[:] = [wait for wait in run["waiting"] if wait["kind"] in ("ask", "unknown")]
            return bool(found) and run["status"] == "waiting"

        await wait_until(asked, description=f"run {run_id} asks", timeout_s=20.0)
        return found[0]

    async def answer(self, run_id: str, answer: Any) -> None:
        """Answer what a run asks."""
        question = await self.question(run_id)
        body = {"question_id": question["question_id"], "answer": answer}
        status, told = await self.call("POST", f"/runs/{run_id}/answer", body)
        assert status == 202, told


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waits() -> AsyncIterator[Waits]:
    """See :class:`Waits`. The runner is ``runner-1``."""
    async with Stack() as stack:
        with CounterServer() as counter:
            await stack.start(runners=0)
            env = {
                "HOLDFAST_AGENTS": AGENTS,
                "HOLDFAST_SLOTS": "1",
                COUNTER_ENV: counter.url,
                "HOLDFAST_TEST_MENDED": str(stack.folder / "mended"),
            }
            await stack.add("runner", "runner-1", env)
            yield Waits(stack, counter)
