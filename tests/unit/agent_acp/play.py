"""A scripted child, the agent that runs it, and a journal: what a test of these plays with."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast_agent import Agent
from holdfast_agent.acp import acp_agent
from tests.unit.agent_acp.journal_double import Attempt, Died, Record, attempt

ROOT = Path(__file__).resolve().parents[3]


class Play:
    """``play.script`` is what the child does; it is read anew by each child."""

    def __init__(self, folder: Path, actions: Sequence[Mapping[str, Any]], **script: Any) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.state = folder / "state"
        self.work.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(exist_ok=True)
        self.script: dict[str, Any] = {"actions": list(actions), **script}
        self.record = Record()
        self.prompt = "do it"

    def agent(self, **options: Any) -> Agent:
        """The agent, with this script."""
        (self.folder / "script.json").write_text(json.dumps(self.script))
        env = {"ACP_SCRIPT": str(self.folder / "script.json"), "ACP_STATE": str(self.state), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.support.acp_child"]
        return acp_agent("coder", **{"command": command, "cwd": self.work, "env": env, **options})

    async def attempt(self, **options: Any) -> Attempt:
        """One attempt."""
        return await attempt(self.agent(**options), self.record, {"prompt": self.prompt})

    async def to_the_end(self, *answers: Any, **options: Any) -> Any:
        """Attempts until the run has ended; ``answers`` to what is asked, in order. Returns its output."""
        left = list(answers)
        for _ in range(12):
            made = await self.attempt(**options)
            if made.waits:
                self.record.answer(left.pop(0) if left else {"decision": "approve"})
            elif isinstance(made.error, Died):
                continue
            elif made.error is not None:
                raise made.error
            else:
                return made.output
        raise AssertionError(f"it comes to no end: {self.record.steps()}")

    def die(self, number: int, when: str) -> None:
        """Have the runner be killed at its write of that number, the child with it."""
        count = 0

        def on_write(what: str, at: str) -> None:
            nonlocal count
            if at != when:
                return
            count += 1
            if count == number:
                self.record.on_write = lambda what, when: None
                self.kill_children()
                raise Died(what)

        self.record.on_write = on_write

    def kill_children(self) -> None:
        """As the launcher does when the runner is gone."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def pids(self) -> list[int]:
        """Every process that was started."""
        return [int(line) for line in self.lines("pids")]

    def alive(self) -> list[int]:
        """Those of them that live."""
        return [pid for pid in self.pids() if _lives(pid)]

    def lines(self, file: str) -> list[str]:
        """What the child has noted."""
        path = self.state / file
        return path.read_text().splitlines() if path.exists() else []

    def prompts(self) -> list[str]:
        """What the child was asked."""
        return [json.loads(line) for line in self.lines("prompts") if line.startswith('"')]

    def go(self, file: str) -> None:
        """Let the child go on that waits for this file."""
        (self.state / file).touch()


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
