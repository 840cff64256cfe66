"""A pydantic_ai agent on a real stack: gateways, runners and servers as processes, the model over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.stack import Stack
from tests.support.viewer import Viewer
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLERK = Path(__file__).with_name("clerk.py")
FIVE_CHUNKS = "chunk-1 chunk-2 chunk-3 chunk-4 chunk-5 "


@dataclass
class Office:
    """The stack, and the folder with the marks of the tools."""

    stack: Stack
    marks: Path

    def marked(self, what: str) -> list[str]:
        """The idempotency keys of a tool's calls."""
        file = self.marks / what
        return file.read_text().split() if file.exists() else []

    async def until_marked(self, what: str, *, count: int = 1) -> None:
        """Wait for a tool's call."""
        await wait_until(lambda: len(self.marked(what)) >= count, description=f"{count} x {what}")

    def viewer(self, run: dict[str, Any]) -> Viewer:
        """A viewer of a run."""
        return Viewer(self.stack.url, run["id"])

    async def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        """A run, once it has ended."""
        return await self.stack.until_status(run["id"], "completed", "failed", "cancelled", timeout_s=40.0)

    async def get(self, path: str) -> Any:
        """What the API has there."""
        answer = await self.stack.http.get(self.stack.url() + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def steps(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """A run's steps."""
        page = await self.get(f"/v1/runs/{run['id']}/steps")
        return list(page["items"])

    async def parts(self, thread: str) -> list[dict[str, Any]]:
        """The parts of a thread's answers, in order."""
        page = await self.get(f"/v1/threads/{thread}/messages")
        return [part for message in page["items"] if message["role"] == "assistant" for part in message["parts"]]

    async def answer(self, run: dict[str, Any], *answers: dict[str, Any]) -> None:
        """Answer the open questions of a run, in the order of their places."""
        waiting = (await self.stack.until_status(run["id"], "waiting"))["waiting"]
        assert len(waiting) == len(answers), waiting
        for question, answer in zip(sorted(waiting, key=lambda each: each["position"]), answers, strict=True):
            body = {"question_id": question["question_id"], "answer": answer}
            given = await self.stack.http.post(f"{self.stack.url()}/v1/runs/{run['id']}/answer", json=body)
            assert given.status_code == 202, given.text

    async def runner(self, name: str) -> None:
        """A runner that has the clerk."""
        env = {"HOLDFAST_AGENTS": str(CLERK), "HOLDFAST_TEST_MARKS": str(self.marks)}
        await self.stack.add("runner", name, env)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """One runner at the start; tests that kill it start the next."""
    async with Stack(env={"HOLDFAST_HEARTBEAT_INTERVAL_S": "1", "HOLDFAST_HEARTBEAT_TTL_S": "4"}) as stack:
        made = Office(stack, tmp_path_factory.mktemp("marks"))
        await stack.add("gateway", "gateway-1")
        await stack.add("reaper", "reaper-1")
        await made.runner("runner-1")
        await stack.until_reapers_see()
        yield made


def _tools(*calls: tuple[str, dict[str, Any]]) -> str:
    return " ".join(f"tool:{name}({json.dumps(arguments)})" for name, arguments in calls)


async def _kill_owner(office: Office, run: dict[str, Any], successor: str) -> None:
    owner = await office.stack.owner(run["id"])
    await office.runner(successor)
    office.stack.services.pop(owner).kill()


async def test_words_come_while_the_model_speaks_and_calls_side_by_side_are_steps(office: Office) -> None:
    calls = _tools(*(("note", {"text": f"side-{n}"}) for n in range(3)))
    run = await office.stack.submit(f"talk slow:3x300 {calls}", agent="clerk")
    viewer = office.viewer(run)
    async with viewer.following():
        await viewer.until("text.delta")
        assert (await office.stack.run(run["id"]))["status"] == "running"
        assert "step.completed" not in viewer.types()
        await viewer.until("run.completed", timeout_s=30)
    assert (await office.ended(run))["output"] == "chunk-1 chunk-2 chunk-3 "
    steps = await office.steps(run)
    assert [(step["kind"], step["name"], step["input"]) for step in steps if step["kind"] == "tool"] == [
        ("tool", "note", {"text": f"side-{n}"}) for n in range(3)
    ]
    assert [step["output"] for step in steps if step["kind"] == "tool"] == [f"noted side-{n}" for n in range(3)]
    keys = [key for n in range(3) for key in office.marked(f"note-side-{n}")]
    assert len(set(keys)) == 3
    parts = await office.parts(run["thread_id"])
    assert [part["type"] for part in parts] == ["text", *["tool-call", "tool-result"] * 3, "text"]


@pytest.mark.slow
async def test_f50_a_killed_owner_s_successor_calls_nothing_that_is_finished(office: Office) -> None:
    calls = _tools(("note", {"text": "done-before"}), ("look", {"text": "killed"}))
    run = await office.stack.submit(f"{calls} many:1", agent="clerk")
    await office.until_marked("look-killed")
    await wait_until(lambda: _finished(office, run, "note"), description="the note is finished")
    await _kill_owner(office, run, "runner-2")
    await office.until_marked("look-killed", count=2)
    (office.marks / "go-killed").touch()
    ended = await office.ended(run)
    assert (ended["status"], ended["output"], ended["attempt"]) == ("completed", "chunk-1 ", 2)
    assert len(office.marked("note-done-before")) == 1
    assert len(set(office.marked("look-killed"))) == 1
    assert [step["tries"] for step in await office.steps(run)] == [1, 1, 2, 1]


async def _finished(office: Office, run: dict[str, Any], tool: str) -> bool:
    return any(step["name"] == tool and step["status"] == "completed" for step in await office.steps(run))


@pytest.mark.slow
async def test_f51_a_call_of_unknown_outcome_is_asked_about_and_goes_on_with_what_a_person_says(
    office: Office,
) -> None:
    run = await office.stack.submit(f"{_tools(('hang', {'text': 'lost'}))} many:1", agent="clerk")
    await office.until_marked("hang-lost")
    await _kill_owner(office, run, "runner-3")
    await office.answer(run, {"outcome": "done", "result": "a person did it"})
    assert (await office.ended(run))["output"] == "chunk-1 "
    assert len(office.marked("hang-lost")) == 1
    [result] = [part for part in await office.parts(run["thread_id"]) if part["type"] == "tool-result"]
    assert (result["status"], result["output"]) == ("completed", "a person did it")


@pytest.mark.parametrize(
    ("answer", "paid", "told"),
    [
        ({"decision": "approve"}, ["pay-approve-7"], "completed"),
        ({"decision": "deny", "reason": "too much"}, [], "failed"),
        ({"decision": "approve", "arguments": {"to": "edited", "cents": 1}}, ["pay-edited-1"], "completed"),
    ],
)
async def test_an_approval_is_answered_over_http(
    office: Office, answer: dict[str, Any], paid: list[str], told: str
) -> None:
    name = "approve" if answer == {"decision": "approve"} else "other"
    before = {file.name for file in office.marks.glob("pay-*")}
    run = await office.stack.submit(f"{_tools(('pay', {'to': name, 'cents': 7}))} many:1", agent="clerk")
    waiting = (await office.stack.until_status(run["id"], "waiting"))["waiting"]
    assert waiting[0]["question"]["type"] == "approval"
    assert waiting[0]["question"]["arguments"] == {"to": name, "cents": 7}
    await office.answer(run, answer)
    assert (await office.ended(run))["output"] == "chunk-1 "
    assert [file.name for file in office.marks.glob("pay-*") if file.name not in before] == paid
    [result] = [part for part in await office.parts(run["thread_id"]) if part["type"] == "tool-result"]
    assert result["status"] == told
    if told == "failed":
        assert result["error"] == {"code": "denied", "message": "too much"}


async def test_f61_after_a_cancel_within_a_call_the_next_message_on_the_thread_works(office: Office) -> None:
    calls = _tools(("note", {"text": "before-cancel"}), ("hang", {"text": "cancelled"}))
    run = await office.stack.submit(f"talk {calls}", agent="clerk")
    await office.until_marked("hang-cancelled")
    cancelled = await office.stack.http.post(f"{office.stack.url()}/v1/runs/{run['id']}/cancel")
    assert cancelled.status_code == 202
    assert (await office.ended(run))["status"] == "cancelled"
    statuses = [part["status"] for part in await office.parts(run["thread_id"]) if part["type"] == "tool-result"]
    assert statuses == ["completed", "unknown"]
    again = await office.stack.submit("hello again", agent="clerk", thread=run["thread_id"])
    assert (await office.ended(again))["output"] == FIVE_CHUNKS


async def test_f61_after_a_cancel_with_a_call_that_was_never_made_the_next_message_works(office: Office) -> None:
    run = await office.stack.submit(f"{_tools(('pay', {'to': 'nobody', 'cents': 1}))}", agent="clerk")
    await office.stack.until_status(run["id"], "waiting")
    await office.stack.http.post(f"{office.stack.url()}/v1/runs/{run['id']}/cancel")
    assert (await office.ended(run))["status"] == "cancelled"
    again = await office.stack.submit("hello again", agent="clerk", thread=run["thread_id"])
    assert (await office.ended(again))["output"] == FIVE_CHUNKS


async def test_f56_a_model_request_s_retry_is_seen_by_viewers_and_in_the_journal(office: Office) -> None:
    run = await office.stack.submit("slow:4x1 fail-after:2x1", agent="clerk")
    viewer = office.viewer(run)
    await viewer.follow()
    assert (await office.ended(run))["output"] == "chunk-1 chunk-2 chunk-3 chunk-4 "
    assert viewer.fold.text == "chunk-1 chunk-2 chunk-3 chunk-4 "
    _, failed = viewer.first("step.failed")
    assert (failed.data["will_retry"], failed.data["error"]["code"], failed.data["try"]) == (
        True,
        "model_unavailable",
        1,
    )
    [step] = await office.steps(run)
    assert (step["tries"], [error["code"] for error in step["errors"]]) == (2, ["model_unavailable"])


@pytest.mark.slow
async def test_seamless_an_answer_cut_by_a_kill_goes_on_where_it_was_cut(office: Office) -> None:
    await office.runner("runner-4")  # beforehand, for the answer does not wait
    run = await office.stack.submit("slow:8x250 stamp", agent="patient-clerk")
    viewer = office.viewer(run)
    async with viewer.following():
        await viewer.until("text.delta", count=3)
        office.stack.services.pop(await office.stack.owner(run["id"])).kill()
        await viewer.until("run.completed", timeout_s=30)
    output = (await office.ended(run))["output"]
    words = output.split()
    assert [word.split("@")[0] for word in words] == [f"chunk-{n}" for n in range(1, 9)]
    callers = [word.split("@")[1] for word in words]
    assert len(set(callers)) == 2, "the first words are the first call's, the others the second's"
    assert callers == sorted(callers, key=int)
    assert viewer.fold.text == output
