"""The built-in agents in a real runner, over the mock model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from holdfast.store import caller
from holdfast_local.ports import free_ports
from tests.integration.runner.scene import TENANT, Scene, types
from tests.support.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
FIVE_CHUNKS = "chunk-1 chunk-2 chunk-3 chunk-4 chunk-5 "


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    """A runner in this process, and the mock model as its agents find it."""
    with pytest.MonkeyPatch.context() as patched:
        async with Stack(env={"HOLDFAST_HEARTBEAT_INTERVAL_S": "1", "HOLDFAST_HEARTBEAT_TTL_S": "5"}) as stack:
            patched.setenv("OPENAI_BASE_URL", stack.mock_url)
            patched.setenv("OPENAI_API_KEY", "mock")
            async with Scene(stack) as made, made.here():
                yield made


async def calls(scene: Scene, text: str) -> int:
    """How often the model was asked this."""
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"http://{scene.stack.mock.where}/calls")
    return int(answer.json()["by_text"].get(text, 0))


async def test_echo_says_back_what_was_said_last(scene: Scene) -> None:
    run_id = await scene.submit(agent="echo", text="hello\u00e4\U0001f600")
    row, log = await scene.whole(run_id)
    assert row.output == {"text": "hello\u00e4\U0001f600"}
    assert await scene.answer(run_id) == row.output["text"]
    assert types(log) == ["run.started", "text.delta", "run.completed"]


async def test_assistant_streams_and_is_asked_once(scene: Scene) -> None:
    run_id = await scene.submit(agent="assistant", text="hello")
    row, log = await scene.whole(run_id)
    assert row.output == {"text": FIVE_CHUNKS}
    assert types(log) == [
        "run.started",
        "step.started",
        *["text.delta"] * 5,
        "usage",
        "step.completed",
        "run.completed",
    ]
    assert await calls(scene, "hello") == 1
    assert [(message.role, message.status) for message in await scene.messages(run_id)] == [
        ("user", "complete"),
        ("assistant", "complete"),
    ]


async def test_assistant_knows_what_was_said_on_its_thread(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    made = httpx2.AsyncClient.send

    async def send(self: httpx2.AsyncClient, request: httpx2.Request, **more: object) -> httpx2.Response:
        asked.append(request.read())
        return await made(self, request, **more)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(httpx2.AsyncClient, "send", send)
    for text in ("first", "second"):
        await scene.whole(await scene.submit(agent="assistant", text=text, thread="talk"))
    [first, second] = [httpx2.Response(200, content=body).json()["messages"] for body in asked]
    assert first == [{"role": "user", "content": "first"}]
    assert second == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": FIVE_CHUNKS},
        {"role": "user", "content": "second"},
    ]


FAILURES = {
    "fail:500": ("model_unavailable", 3),
    "fail:429": ("model_unavailable", 3),
    "fail:408": ("model_unavailable", 3),
    "fail:400": ("model_refused", 1),
    "fail:401": ("model_refused", 1),
    "fail-after:2": ("model_unavailable", 3),
}
"""What the mock model is told to do -> the run's error, and how often it is worth asking."""


async def test_f16_a_model_that_fails_is_tried_as_often_as_that_helps(scene: Scene) -> None:
    submitted = {text: await scene.submit(agent="assistant", text=text) for text in FAILURES}
    for text, (code, times) in FAILURES.items():
        row, log = await scene.whole(submitted[text])
        assert row.error is not None
        assert (row.status, row.error["code"]) == ("failed", code), text
        assert await calls(scene, text) == times
        assert types(log).count("step.failed") == times
        [step] = await scene.steps(submitted[text])
        assert (step.status, step.tries) == ("failed", times)


async def test_f56_a_model_that_breaks_off_once_is_asked_again_and_its_words_stand_once(scene: Scene) -> None:
    run_id = await scene.submit(agent="assistant", text="slow:4x1 fail-after:2x1")
    row, log = await scene.whole(run_id)
    assert row.output == {"text": "chunk-1 chunk-2 chunk-3 chunk-4 "}
    assert types(log).count("step.started") == 2


async def test_f16_a_model_that_cannot_be_reached(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{free_ports(1)[0]}/v1")
    row, log = await scene.whole(await scene.submit(agent="assistant", text="anybody there?"))
    assert row.error is not None
    assert row.error["code"] == "model_unavailable"
    assert types(log).count("step.failed") == 3


async def test_f16_settings_that_are_wrong_fail_the_run_and_say_which(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_MODEL_SILENCE_TIMEOUT_S", "soon")
    row, _ = await scene.whole(await scene.submit(agent="assistant", text="hello?"))
    assert row.error is not None
    assert row.error["code"] == "agent_error"
    assert "HOLDFAST_MODEL_SILENCE_TIMEOUT_S" in row.error["message"]


async def test_a_model_that_says_nothing_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_MODEL_SILENCE_TIMEOUT_S", "0.2")
    row, _ = await scene.whole(await scene.submit(agent="assistant", text="hang"))
    assert row.error is not None
    assert row.error["code"] == "model_unavailable"


# -- the assistant's tools -------------------------------------------------------------------------------------------------


async def called(scene: Scene, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What each of some tool calls gave, side by side; the text behind it is the model's last word."""
    text = " ".join(f"tool:{name}({json.dumps(arguments)})" for name, arguments in calls)
    run_id = await scene.submit(agent="assistant", text=f"{text} many:1")
    row, _ = await scene.whole(run_id)
    assert row.output == {"text": "chunk-1 "}, row.error
    steps = {step.call_id: step for step in await scene.steps(run_id) if step.kind == "tool"}
    return [steps[ident].output for ident in sorted(steps, key=lambda ident: int(str(ident).rpartition("_")[2]))]


def contents(folder: Path) -> dict[str, str]:
    """The files of a folder."""
    return {file.name: file.read_text() for file in folder.iterdir()}


def refusal(output: Any) -> str:
    """The words of a tool that refused."""
    assert output["$pydantic_ai"]["kind"] == "tool_failed"
    return str(output["$pydantic_ai"]["message"])


async def test_the_clock_and_arithmetic_need_nothing(scene: Scene) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    now, value, wrong = await called(
        scene,
        ("clock", {}),
        ("calculate", {"expression": "2 * (3 + 4)"}),
        ("calculate", {"expression": "__import__('os')"}),
    )
    assert before <= datetime.fromisoformat(now) <= datetime.now(UTC)
    assert value == 14
    assert "not allowed" in refusal(wrong)


async def test_files_of_the_workspace(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOLDFAST_WORKSPACE", str(tmp_path / "work"))
    [written] = await called(scene, ("write_file", {"path": "a/b.txt", "content": "hello"}))
    assert written == {"path": "a/b.txt", "size": 5}
    read, listed, outside = await called(
        scene,
        ("read_file", {"path": "a/b.txt"}),
        ("list_files", {}),
        ("read_file", {"path": "../secret"}),
    )
    assert read == {"text": "hello", "size": 5, "next_offset": None}
    assert [entry["name"] for entry in listed["entries"]] == ["a"]
    assert "not within the workspace" in refusal(outside)


async def test_what_is_not_configured_is_refused(scene: Scene) -> None:
    fetched, listed = await called(scene, ("fetch", {"url": "http://127.0.0.1/"}), ("list_files", {}))
    assert "not on the list" in refusal(fetched)
    assert "no workspace" in refusal(listed)


async def test_fetches_from_the_list(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_FETCH_ALLOW", "example.org, 127.0.0.1")
    [fetched] = await called(scene, ("fetch", {"url": f"http://{scene.stack.mock.where}/healthz"}))
    assert (fetched["status"], fetched["text"]) == (200, "ok\n")


async def test_calls_that_a_person_must_approve(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_APPROVE", "write_file")
    run_id = await scene.submit(
        agent="assistant", text='tool:write_file({"path": "a", "content": "x"}) tool:list_files({}) many:1'
    )
    await scene.until(run_id, "waiting")
    [wait] = (await caller.waits(scene.db, [run_id]))[run_id]
    assert wait.question is not None
    assert (wait.question["tool"], contents(tmp_path)) == ("write_file", {})
    edited = {"decision": "approve", "arguments": {"path": "b", "content": "y"}}
    await caller.answer(scene.db, TENANT, run_id, wait.id, answer=edited, status="completed", output=edited, error=None)
    await scene.request(run_id)
    row, _ = await scene.whole(run_id)
    assert row.output == {"text": "chunk-1 "}
    assert contents(tmp_path) == {"b": "y"}


async def test_f16_an_approval_of_a_tool_that_there_is_not_is_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_APPROVE", "write_fiel")
    row, _ = await scene.whole(await scene.submit(agent="assistant", text="hello?"))
    assert row.error is not None
    assert row.error["code"] == "misconfigured"
    assert "write_fiel" in row.error["message"]
