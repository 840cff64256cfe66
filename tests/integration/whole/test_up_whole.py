"""``holdfast up`` with everything real: the tour of the README, and the hot reload, as a user sees them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.local.conftest import UpProcess
from tests.integration.local.process_tree import alive
from tests.support.viewer import Viewer
from tests.support.wait import wait_until

_STEPS = 80
_AGENT = '''
"""Saved {saves} times."""
import asyncio
from holdfast_agent import Run, agent

@agent("counter")
async def counter(run: Run) -> dict[str, int]:
    """Counts, a step at a time."""
    for number in range({steps}):
        async def say() -> int:
            await asyncio.sleep(0.15)
            run.emit_text(f"<{{number}}>")
            return number
        await run.model("count", {{"number": number}}, say)
    return {{"counted": {steps}}}
'''


class Up:
    """A running system of one machine."""

    def __init__(self, process: UpProcess) -> None:
        self.process = process
        self.http = httpx2.AsyncClient(base_url=process.url, timeout=10.0)

    async def follow(self, agent: str, text: str) -> tuple[Viewer, asyncio.Task[None]]:
        """Submit a run and follow it."""
        body = {"agent": agent, "input": {"messages": [{"role": "user", "content": text}]}}
        answer = await self.http.post("/v1/runs", json=body)
        assert answer.status_code == 202, answer.text
        viewer = Viewer(lambda: self.process.url, answer.json()["id"])
        return viewer, asyncio.create_task(viewer.follow())


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """``holdfast up --reload`` with an agent file of the test's own."""
    agents = tmp_path / "agents.py"
    agents.write_text(_AGENT.format(saves=0, steps=_STEPS))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast_local", "up", "--port", "0", "--data", str(tmp_path / "data"),
        "--agents", str(agents), "--reload",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = UpProcess(process)
    try:
        await running.says("holdfast is up at http://127.0.0.1:")
        system = Up(running)
        yield system
        await system.http.aclose()
    finally:
        await running.end()


@pytest.mark.slow
async def test_f01_agent_files_saved_five_times_during_a_run(up: Up, tmp_path: Path) -> None:
    viewer, following = await up.follow("counter", "go")
    for saves in range(1, 6):
        await viewer.until("step.completed", count=8 * saves, timeout_s=60.0)
        (tmp_path / "agents.py").write_text(_AGENT.format(saves=saves, steps=_STEPS))
    await following
    run = (await up.http.get(f"/v1/runs/{viewer.run_id}")).json()
    assert run["status"] == "completed", run
    assert run["output"] == {"counted": _STEPS}
    assert viewer.fold.text == "".join(f"<{number}>" for number in range(_STEPS))
    attempts = (await up.http.get(f"/v1/runs/{viewer.run_id}/attempts")).json()["items"]
    assert len(attempts) > 1, "the reloads were to meet the run"
    assert "owner_lost" not in [attempt["ended_why"] for attempt in attempts]


async def test_f01_the_tour_kill_9_and_one_clean_stream(up: Up) -> None:
    viewer, following = await up.follow("assistant", "many:100")
    await viewer.until("text.delta", count=20)
    owner = (await up.http.get(f"/v1/runs/{viewer.run_id}")).json()["run_owner_pod"]
    pods = {pod["pod"]: pod["pid"] for pod in (await up.http.get("/v1/pods")).json()["items"]}
    os.kill(pods[owner], signal.SIGKILL)
    await following
    assert viewer.fold.text == "".join(f"chunk-{number} " for number in range(1, 101))
    assert viewer.fold.ending is not None
    assert viewer.fold.ending.type == "run.completed"
    assert viewer.types().count("run.resumed") == 1
    assert viewer.duplicates == 0
    await up.process.says(f"{owner} (pid {pods[owner]}) ended: killed by SIGKILL")

    pids = up.process.descendants()
    up.process.process.send_signal(signal.SIGINT)
    assert await up.process.exit_code() == 0
    await wait_until(lambda: not [pid for pid in pids if alive(pid)], description="nothing is left behind")
