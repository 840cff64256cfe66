"""The hands of these tests: runners with the tutorial's agents, killed and replaced, and a person who answers over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from holdfast_local.service import Service
from tests.support.stack import Stack
from tests.support.wait import wait_until

EXAMPLES = Path(__file__).parents[3] / "examples"


class Desk:
    """``folder`` is where the agents write."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self._hired: list[Service] = []

    async def hire(self) -> None:
        """Start one more runner. It loads each agent from its file."""
        name = f"runner-{len(self.stack.services)}"
        files = ",".join(str(path) for path in sorted(EXAMPLES.glob("*.py")))
        env = {"HOLDFAST_AGENTS": files, "LEDGER_FOLDER": str(self.folder)}
        self._hired.append(await self.stack.add("runner", name, env))

    def dismiss(self) -> None:
        """Kill (SIGKILL) all runners."""
        for runner in self._hired:
            runner.kill()
        self._hired.clear()

    async def replace(self) -> None:
        """Kill the runner in the middle of whatever it does, and start another, under a name of its own."""
        self.dismiss()
        await self.hire()

    async def submit(self, agent: str, text: str, **more: Any) -> str:
        """Ask an agent for something; returns the run's id."""
        return str((await self.stack.submit(text, agent=agent, **more))["id"])

    async def completed(self, run_id: str) -> dict[str, Any]:
        """The run, once it is completed; any other end fails the test."""
        run = await self.stack.until_status(run_id, "completed", "failed", "cancelled", "interrupted", timeout_s=40.0)
        assert run["status"] == "completed", run["error"]
        return run

    async def asked(self, run_id: str, kind: str) -> dict[str, Any]:
        """What the run asks, once it does so: an open wait of this kind."""
        found: list[dict[str, Any]] = []

        async def waits() -> bool:
            run = await self.stack.run(run_id)
            found[:] = [wait for wait in run["waiting"] if wait["kind"] == kind and run["status"] == "waiting"]
            return bool(found)

        await wait_until(waits, description=f"run {run_id} waits for {kind}", timeout_s=40.0)
        return found[0]

    async def answer(self, run_id: str, wait: dict[str, Any], answer: Any) -> int:
        """Answer it as a front end would; returns the HTTP status."""
        body = {"question_id": wait["question_id"], "answer": answer}
        return int((await self.stack.http.post(f"{self.stack.url()}/v1/runs/{run_id}/answer", json=body)).status_code)

    async def steps(self, run_id: str) -> list[dict[str, Any]]:
        """The run's journal."""
        answer = await self.stack.http.get(f"{self.stack.url()}/v1/runs/{run_id}/steps")
        return list(answer.json()["items"])

    async def until_begun(self, run_id: str, *names: str) -> None:
        """Wait until steps of these names have begun, and none of them has ended."""

        async def begun() -> bool:
            return {step["name"] for step in await self.steps(run_id) if step["status"] == "started"} >= set(names)

        await wait_until(begun, description=f"run {run_id} is in {names}", timeout_s=30.0)

    async def kept(self, run_id: str) -> dict[str, list[str]]:
        """The finished steps, as ``{name: [status, …]}``."""
        kept: dict[str, list[str]] = {}
        for step in await self.steps(run_id):
            kept.setdefault(step["name"], []).append(step["status"])
        return kept

    def lines(self, name: str) -> list[str]:
        """The lines of a file that the agents write; none when there is no file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.is_file() else []

    def write(self, name: str, text: str) -> None:
        """Put a file in place, whole."""
        path = self.folder / f"{name}.new"
        path.write_text(text)
        path.rename(self.folder / name)

    def block(self, name: str) -> None:
        """Make a file of this name which holds up whoever opens it, for as long as it is there and nobody reads it."""
        os.mkfifo(self.folder / name)

    def unblock(self, name: str) -> None:
        """Let a file be made there. Who had been held up and killed has written nothing."""
        (self.folder / name).unlink()
