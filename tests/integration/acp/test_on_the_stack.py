"""Child agents on the whole stack: real runners killed with SIGKILL at each kind of point, cancels, exits, answers by HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.support.stack import Stack
from tests.support.viewer import Viewer
from tests.support.wait import wait_until
from tests.unit.agent_acp.play import Play

pytestmark = pytest.mark.asyncio(loop_scope="session")
_TIMEOUT_S = 40.0


class Staged(Play):
    """A play whose runs are the stack's."""

    def __init__(self, stack: Stack, folder: Path, actions: Sequence[Mapping[str, Any]], **script: Any) -> None:
        self.thread = uuid4().hex
        super().__init__(folder / self.thread, actions, **script)
        self.stack = stack
        self.agent()  # writes the script

    async def submit(self, **body: Any) -> str:
        """Submit a run; returns its id."""
        made = await self.stack.http.post(
            f"{self.stack.url()}/v1/threads", json={"id": self.thread, "if_exists": "use"}
        )
        assert made.status_code in (200, 201), made.text
        self.run_id = str((await self.stack.submit("do it", agent="coder", thread=self.thread, **body))["id"])
        return self.run_id

    async def ended(self, *statuses: str) -> dict[str, Any]:
        """The run, when it has come to this."""
        return await self.stack.until_status(
            self.run_id, *(statuses or ("completed", "failed", "cancelled")), timeout_s=_TIMEOUT_S
        )

    async def steps(self) -> list[dict[str, Any]]:
        """Its journal."""
        return list(
            (await self.stack.http.get(f"{self.stack.url()}/v1/runs/{self.run_id}/steps?limit=200")).json()["items"]
        )

    async def text(self) -> str:
        """What the thread's transcript has of the agent."""
        messages = (await self.stack.http.get(f"{self.stack.url()}/v1/threads/{self.thread}/messages")).json()["items"]
        parts = [part for message in messages if message["role"] == "assistant" for part in message["parts"]]
        return "".join(part["text"] for part in parts if part["type"] == "text")

    async def viewed(self) -> str:
        """The text that somebody who follows from the start is left with."""
        viewer = Viewer(self.stack.url, self.run_id)
        await viewer.follow(timeout_s=_TIMEOUT_S)
        return viewer.fold.text

    async def kill_owner(self) -> None:
        """SIGKILL to the runner that has the run; it is started again when its children are gone."""
        name = await self.stack.owner(self.run_id)
        service = self.stack.services[name]
        service.kill()
        await wait_until(lambda: not self.alive(), description="the child is gone with its runner")
        await service.start()

    async def answer(self, answer: Mapping[str, Any]) -> None:
        """Answer what the run asks."""
        waiting = (await self.ended("waiting"))["waiting"]
        assert len(waiting) == 1, waiting
        asked = await self.stack.http.post(
            f"{self.stack.url()}/v1/runs/{self.run_id}/answer",
            json={"question_id": waiting[0]["question_id"], "answer": answer},
        )
        assert asked.status_code == 202, asked.text


@pytest_asyncio.fixture(loop_scope="session")
async def stage(stack: Stack, folder: Path) -> AsyncIterator[Any]:
    """``stage(actions)`` makes a play; nothing of it is alive at the end."""
    made: list[Staged] = []

    def staged(actions: Sequence[Mapping[str, Any]], **script: Any) -> Staged:
        made.append(Staged(stack, folder, actions, **script))
        return made[-1]

    yield staged
    alive = [pid for play in made for pid in play.alive()]
    await wait_until(lambda: not any(play.alive() for play in made), description=f"{alive} are gone", timeout_s=15.0)


@pytest.mark.slow
async def test_a_whole_session(stage: Any) -> None:
    play = stage(
        [
            {"think": "hm"},
            {"say": "Hello. "},
            {"plan": ["one"]},
            {"call": {"title": "Write a"}},
            {"together": [{"title": "Write b"}, {"title": "Write c", "fail": True}]},
            {"call": {"title": "Deploy", "permission": True}},
            {"say": "Done."},
        ]
    )
    await play.submit()
    waiting = (await play.ended("waiting"))["waiting"][0]
    assert waiting["question"]["tool"] == "Deploy"
    assert not play.alive(), "no child lives while a person is asked"
    refused = await play.stack.http.post(
        f"{play.stack.url()}/v1/runs/{play.run_id}/answer",
        json={"question_id": waiting["question_id"], "answer": {"decision": "approve", "option": "no"}},
    )
    assert refused.status_code == 422, refused.text
    await play.answer({"decision": "approve"})
    run = await play.ended()
    assert run["status"] == "completed", run["error"]
    assert run["output"]["text"] == "Done."
    assert sorted(play.lines("effects")) == ["Deploy", "Write a", "Write b", "Write c"]
    assert await play.text() == await play.viewed() == "Hello. Done."
    steps = {step["name"]: step for step in await play.steps()}
    assert steps["Write a"]["call_id"] == "call-1"
    assert steps["Write a"]["input"]["raw_input"] == {"of": "Write a"}
    assert steps["Write c"]["status"] == "failed"


@pytest.mark.slow
async def test_the_next_run_of_a_thread_knows_what_was_said(stage: Any) -> None:
    play = stage([{"say": "The answer is 42."}])
    await play.submit()
    await play.ended()
    await play.submit()
    await play.ended()
    assert "assistant: The answer is 42." in play.prompts()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("load", [True, False], ids=["load", "no_load"])
@pytest.mark.parametrize(
    "point", ["before the prompt", "within text", "within a call", "at a permission", "after the answer"]
)
async def test_f62_its_runner_is_killed(stage: Any, point: str, load: bool) -> None:
    play = stage(
        [
            {"say": "Let me see, I begin. ", "pieces": 3, **({"wait": "text"} if point == "within text" else {})},
            {"call": {"title": "Write a", **({"hold_after": "call"} if point == "within a call" else {})}},
            {
                "call": {
                    "title": "Deploy",
                    "permission": True,
                    **({"hold": "yes"} if point == "after the answer" else {}),
                }
            },
            {"say": "Done."},
        ],
        load=load,
        **({"start": "start"} if point == "before the prompt" else {}),
    )
    await play.submit()
    await _kill_at(play, point)
    for file in ("start", "text", "call", "yes"):
        play.go(file)
    while (run := await play.ended("waiting", "completed", "failed"))["status"] == "waiting":
        await play.answer({"decision": "approve"})
        await play.stack.until_status(play.run_id, "running", "completed", "failed", timeout_s=_TIMEOUT_S)
    assert run["status"] == "completed", run["error"]
    assert run["output"]["text"] == "Done."
    assert play.lines("effects") == ["Write a", "Deploy"]
    assert await play.text() == await play.viewed() == "Let me see, I begin. Done."
    assert not [step["position"] for step in await play.steps() if step["status"] not in ("completed", "failed")]
    assert run["attempt"] > 1


async def _kill_at(play: Staged, point: str) -> None:
    if point == "after the answer":
        await play.answer({"decision": "approve"})
        await wait_until(
            lambda: "Deploy: yes" in play.lines("answers"), description="the child knows", timeout_s=_TIMEOUT_S
        )
    reached = {
        "before the prompt": lambda: bool(play.lines("pids")),
        "within text": lambda: bool(play.prompts()),
        "within a call": lambda: play.lines("effects") == ["Write a"],
        "at a permission": lambda: play.lines("asked") == ["Deploy"],
        "after the answer": lambda: True,
    }
    await wait_until(reached[point], description=point, timeout_s=_TIMEOUT_S)
    if point == "at a permission":
        await play.ended("waiting", "running")
        if (await play.stack.run(play.run_id))["status"] == "waiting":
            await play.answer({"decision": "approve"})
            await play.stack.until_status(play.run_id, "running", "completed", timeout_s=_TIMEOUT_S)
            if (await play.stack.run(play.run_id))["status"] == "completed":
                return
    if point in ("within text", "within a call", "after the answer"):
        kind = "message" if point == "within text" else "tool"

        async def begun() -> bool:
            return any(step["kind"] == kind and step["status"] == "started" for step in await play.steps())

        await wait_until(begun, description="the step is in the journal", timeout_s=_TIMEOUT_S)
    await play.kill_owner()


@pytest.mark.slow
async def test_its_runner_is_drained(stage: Any) -> None:
    held = {"call": {"title": "Next", "hold": "on"}}
    play = stage([{"say": "Hello. "}, {"wait": "go"}, {"call": {"title": "Write a"}}, held, {"say": "End."}])
    await play.submit()

    async def said() -> bool:
        return bool(play.prompts()) and any(step["kind"] == "message" for step in await play.steps())

    await wait_until(said, description="it has said something", timeout_s=_TIMEOUT_S)
    service = play.stack.services[await play.stack.owner(play.run_id)]
    draining = asyncio.create_task(service.stop())
    await asyncio.wait({draining}, timeout=1.0)  # the drain has begun
    play.go("go")
    play.go("on")
    await draining
    await service.start()
    run = await play.ended()
    assert (run["status"], run["output"]["text"]) == ("completed", "End."), run
    assert play.lines("effects") == ["Write a", "Next"]
    assert await play.text() == await play.viewed() == "Hello. End."


@pytest.mark.slow
async def test_a_cancel_leaves_no_process(stage: Any) -> None:
    play = stage([{"say": "Hello. "}, {"hang": True}], deaf=True, grandchild=True)
    await play.submit()
    await wait_until(lambda: len(play.pids()) == 2 and play.prompts(), description="it works", timeout_s=_TIMEOUT_S)
    assert (await play.stack.http.post(f"{play.stack.url()}/v1/runs/{play.run_id}/cancel")).status_code == 202
    assert (await play.ended())["status"] == "cancelled"
    await wait_until(lambda: not play.alive(), description="nothing is left", timeout_s=10.0)
    assert play.lines("signals") == ["SIGINT"]


@pytest.mark.slow
async def test_an_abnormal_exit_fails_the_run_with_its_last_words(stage: Any) -> None:
    play = stage([{"say": "Hello. "}, {"exit": 7, "stderr": "no more tokens\n"}])
    await play.submit()
    run = await play.ended()
    assert run["status"] == "failed"
    assert run["error"]["code"] == "agent_exited"
    assert "exit code 7" in run["error"]["message"]
    assert "no more tokens" in run["error"]["message"]
    assert await play.text() == "Hello. "


@pytest.mark.slow
async def test_f62_a_session_that_disagrees_ends_diverged_with_both_sides(stage: Any) -> None:
    play = stage([{"say": "Hello. "}, {"call": {"title": "Write a", "hold_after": "never"}}])
    await play.submit()
    await wait_until(lambda: play.lines("effects"), description="the effect was made", timeout_s=_TIMEOUT_S)

    async def begun() -> bool:
        return any(step["kind"] == "tool" for step in await play.steps())

    await wait_until(begun, description="the call is in the journal", timeout_s=_TIMEOUT_S)
    play.script["history"] = "other_text"
    play.agent()
    await play.kill_owner()
    run = await play.ended()
    assert (run["status"], run["error"]["code"]) == ("failed", "diverged")
    assert "said: Hello." in run["error"]["message"]
    assert "said: what the journal does not have" in run["error"]["message"]
    assert play.lines("effects") == ["Write a"]
    assert json.dumps(run["error"])
