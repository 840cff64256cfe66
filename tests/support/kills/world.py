"""A whole Holdfast whose runners die on demand, a person who answers what it asks, and what a run came to."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.support.kills.counter import CounterServer
from tests.support.kills.points import KILLED_ENV, OF_WAITS, OF_WORK, Point
from tests.support.kills.twelve_steps import COUNTER_ENV
from tests.support.stack import MODULES, Stack
from tests.support.viewer import Viewer

TERMINAL = ("completed", "failed", "cancelled")
_WAITS = ("ask", "sleep", "child")
_LOOK_INTERVAL_S = 0.05
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CALL = re.compile(r"call_\d+_\d+|chatcmpl-[\d-]+")
_FLEETING = ("try", "question_id", "child_run_id", "until", "run_id", "timestamp", "provider_url")


@dataclass(frozen=True)
class Kill:
    """Where a run's owner dies; ``of_child``: the owner of its child run."""

    position: str
    point: Point
    of_child: bool = False

    def __str__(self) -> str:
        return f"{'child ' if self.of_child else ''}{self.position} {self.point}"


@dataclass
class Came:
    """What a run came to, without what may differ between two runs that nobody disturbed."""

    status: str
    output: Any
    journal: list[tuple[Any, ...]]
    shown: dict[str | None, list[tuple[str, Any]]]
    words: list[str]
    calls: Mapping[str, int]
    attempts: int = field(compare=False)
    killed: bool = field(compare=False)
    transcripts: tuple[str, str] = field(compare=False)

    def differs_from(self, other: Came) -> str:
        """In what: this one's, and the other's."""
        pairs = [
            (each.name, getattr(self, each.name), getattr(other, each.name)) for each in fields(self) if each.compare
        ]
        return "; ".join(f"{name}: {_least(mine, theirs)}" for name, mine, theirs in pairs if mine != theirs)


@dataclass
class KillWorld:
    """``async with kill_world(modules) as world``."""

    stack: Stack
    counter: CounterServer
    killed: Path
    agent: str
    run_input: Mapping[str, Any]
    answers: Mapping[str, Any]
    golden: Came | None = None
    outputs: dict[tuple[str, str], Any] = field(default_factory=dict)

    async def kills(self) -> list[Kill]:
        """Every boundary of every step of a run that nobody kills."""
        run = await self._submit(None)
        self.golden = await self._follow(run["id"])
        assert self.golden.status == "completed", self.golden
        assert self.golden.transcripts[0] == self.golden.transcripts[1]
        found = []
        for step in await self._steps(run["id"]):
            if step["kind"] == "child":
                [inner] = await self._steps(step["output"]["run_id"])
                found += [Kill(inner["position"], point, of_child=True) for point in OF_WORK]
                self.outputs[inner["kind"], inner["name"]] = inner["output"]
            found += [Kill(step["position"], point) for point in (OF_WAITS if step["kind"] in _WAITS else OF_WORK)]
            self.outputs[step["kind"], step["name"]] = step["output"]
        return found

    async def kill(self, kill: Kill) -> Came:
        """What a run comes to whose owner dies there."""
        run = await self._submit(kill)
        return await self._follow(run["id"])

    async def _submit(self, kill: Kill | None) -> dict[str, Any]:
        run_input = dict(self.run_input)
        if kill is not None:
            asked = {"position": kill.position, "point": kill.point.value}
            run_input["child_kill" if kill.of_child else "kill"] = asked
        answer = await self.stack.http.post(
            f"{self.stack.url()}/v1/runs",
            json={"agent": self.agent, "input": run_input, "max_crashes": 100},
        )
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    async def _follow(self, run_id: str) -> Came:
        viewer = Viewer(self.stack.url, run_id)
        person = asyncio.create_task(self._answer_all(run_id))
        try:
            await viewer.follow(timeout_s=60)
        finally:
            person.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await person
        return await self._came(run_id, viewer)

    # -- a person ----------------------------------------------------------------------------------------------------

    async def _answer_all(self, run_id: str) -> None:
        """Answer whatever this run, or a child of it, asks."""
        answered: set[str] = set()
        while True:
            await self._answer(run_id, run_id, answered)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def _answer(self, run_id: str, counts_as: str, answered: set[str]) -> None:
        for wait in (await self.stack.run(run_id))["waiting"]:
            if wait["kind"] == "child":
                await self._answer(wait["child_run_id"], counts_as, answered)
            elif wait["kind"] in ("ask", "unknown") and wait["question_id"] not in answered:
                body = {"question_id": wait["question_id"], "answer": self._say(wait, counts_as)}
                answer = await self.stack.http.post(f"{self.stack.url()}/v1/runs/{run_id}/answer", json=body)
                if answer.status_code == 202:
                    answered.add(wait["question_id"])

    def _say(self, wait: Mapping[str, Any], counts_as: str) -> Any:
        """What a person finds out: was the tool done to the world outside?"""
        question = wait["question"]
        if wait["kind"] == "ask":
            return self.answers[question["text"]]
        name = question["step"]["name"]
        if self.counter.calls(counts_as).get(name):
            return {"outcome": "done", "result": self.outputs[question["step"]["kind"], name]}
        return {"outcome": "retry"}

    # -- what it came to ---------------------------------------------------------------------------------------------

    async def _steps(self, run_id: str) -> list[dict[str, Any]]:
        answer = await self.stack.http.get(f"{self.stack.url()}/v1/runs/{run_id}/steps?limit=200")
        return list(answer.json()["items"])

    async def _came(self, run_id: str, viewer: Viewer) -> Came:
        run = await self.stack.run(run_id)
        base = self.stack.url()
        attempts = (await self.stack.http.get(f"{base}/v1/runs/{run_id}/attempts")).json()["items"]
        messages = (await self.stack.http.get(f"{base}/v1/threads/{run['thread_id']}/messages")).json()["items"]
        said = "".join(
            part["text"]
            for message in messages
            if message["role"] == "assistant"
            for part in message["parts"]
            if part["type"] == "text"
        )
        shown: dict[str | None, list[tuple[str, Any]]] = {}
        for item in viewer.fold.items:
            if item.type not in ("text.delta", "run.waiting"):
                shown.setdefault(item.position, []).append((item.type, _lasting(item.data)))
        return Came(
            run["status"],
            run["output"],
            [
                (
                    step["position"],
                    step["kind"],
                    step["name"],
                    step["status"],
                    _lasting(step["output"]),
                    _lasting(step["call_id"]),
                )
                for step in await self._steps(run_id)
            ],
            shown,
            sorted(viewer.fold.text.split()),
            self.counter.calls(run_id),
            len(attempts),
            (self.killed / run_id).exists(),
            (viewer.fold.text, said),
        )


def _least(mine: Any, theirs: Any) -> str:
    """The parts in which two values differ."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        keys = [key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)]
        return ", ".join(f"{key}: {mine.get(key)} instead of {theirs.get(key)}" for key in keys)
    if isinstance(mine, list) and isinstance(theirs, list):
        more, less = [x for x in mine if x not in theirs], [x for x in theirs if x not in mine]
        return f"{more} instead of {less} (of {len(mine)}, {len(theirs)})"
    return f"{mine} instead of {theirs}"


def _lasting(value: Any) -> Any:
    """A value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: _lasting(each) for key, each in value.items() if key not in _FLEETING}
    if isinstance(value, list):
        return [_lasting(each) for each in value]
    if isinstance(value, str):
        return "some id" if _UUID.fullmatch(value) or _CALL.fullmatch(value) else value
    return value


@asynccontextmanager
async def kill_world(
    agents: Sequence[str], agent: str, run_input: Mapping[str, Any], answers: Mapping[str, Any], *, runners: int = 3
) -> AsyncIterator[KillWorld]:
    """A stack whose runners have these modules' agents, die on demand, and come back at once under their names."""
    MODULES["killable"] = "tests.support.kills.runner"
    async with Stack() as stack:
        killed = stack.folder / "killed"
        killed.mkdir()
        with CounterServer() as counter:
            env = {KILLED_ENV: str(killed), COUNTER_ENV: counter.url, "HOLDFAST_AGENTS": ",".join(agents)}
            await stack.start(runners=0)
            names = [f"runner-{number}" for number in range(runners)]
            await asyncio.gather(*(stack.add("killable", name, {"POD_NAME": name, **env}) for name in names))
            yield KillWorld(stack, counter, killed, agent, run_input, answers)
