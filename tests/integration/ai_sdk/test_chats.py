"""The AI SDK's own classes against a real gateway, runner and model: what a page sees, says, approves, stops and gives anew."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest

from tests.integration.ai_sdk.balancer import Balancer
from tests.integration.ai_sdk.driver import Chat, Driver, text_of, tools_of, words_of
from tests.support.node import run_node
from tests.support.stack import Stack
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")
_KEY = "hf_for-the-tests-of-chats"


def _words(count: int) -> str:
    return "".join(f"chunk-{n} " for n in range(1, count + 1))


def _api(stack: Stack, gateway: str = "gateway-1") -> str:
    return f"{stack.url(gateway)}/ai-sdk/chat"


async def _record(stack: Stack, chat: Chat) -> list[dict[str, Any]]:
    answer = await stack.http.get(f"{_api(stack)}/{chat.name}/messages")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def _shown(message: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What a page draws of a message, without what only the stream knows: where the SDK's steps begin."""
    keys = ("type", "text", "state", "input", "output", "errorText", "toolCallId", "data")
    return [tuple(part.get(key) for key in keys) for part in message["parts"] if part["type"] != "step-start"]


@pytest.mark.parametrize("transport", ["default", "workflow"])
async def test_a_chat_and_its_tools(driver: Driver, stack: Stack, transport: str) -> None:
    chat = await driver.chat(_api(stack), transport=transport, id=f"chat-{uuid4()}")
    chat_id = (await chat.state())["messages"]
    assert chat_id == []
    await chat.say('talk tool:calculate({"expression": "6*7"}) tool:calculate({"expression": "1/0"})')
    state = await chat.state()
    assert (state["status"], text_of(state)) == ("ready", _words(5) * 2), state
    right, wrong = tools_of(state["messages"][-1])
    assert (right["state"], right["input"], right["output"]) == ("output-available", {"expression": "6*7"}, 42)
    assert (wrong["state"], wrong["errorText"]) == ("output-error", "there is a division by zero")
    assert [part["type"] for part in state["messages"][-1]["parts"]].count("step-start") == 2
    assert state["finished"][-1]["finishReason"] == "stop"
    assert state["messages"][-1]["metadata"]["usage"]["outputTokens"] > 0
    assert state["messages"][-1]["id"] == state["messages"][-1]["metadata"]["runId"] == state["fetches"][0]["run"]
    assert state["toolCalls"] == [], "the page is not asked to run what the server runs"
    await chat.say("and now?")
    assert text_of(await chat.state()) == _words(5)


async def test_a_reload_shows_what_the_stream_showed(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    await chat.say('talk tool:calculate({"expression": "6*7"}) tool:calculate({"nope": 1})')
    streamed = (await chat.state())["messages"]
    answer = await stack.http.get(f"{_api(stack)}/{chat_id}/messages")
    recorded = answer.json()["items"]
    assert [message["id"] for message in recorded] == [message["id"] for message in streamed]
    assert [_shown(message) for message in recorded[1:]] == [_shown(message) for message in streamed[1:]]
    again = await driver.chat(_api(stack), id=chat_id, messages=recorded, transport="default")
    await again.call("resumeStream")
    state = await again.state()
    assert (state["status"], state["fetches"][-1]["status"]) == ("ready", 204), "an idle chat has nothing to resume"
    assert state["messages"] == recorded


async def test_a_reload_goes_on_with_what_goes_on(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    saying = asyncio.create_task(chat.say("slow:12x60"))
    await chat.until_said("chunk-2 ")
    recorded = (await stack.http.get(f"{_api(stack)}/{chat_id}/messages")).json()["items"]
    again = [
        await driver.chat(_api(stack, "gateway-2"), id=chat_id, messages=recorded, transport=transport)
        for transport in ("default", "workflow")
    ]
    await asyncio.gather(*(each.call("resumeStream") for each in again))
    for each in again:
        state = await each.state()
        assert text_of(state) == _words(12)
        assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    await saying


@pytest.mark.parametrize("approved", [True, False], ids=["approve", "deny"])
async def test_an_approval(driver: Driver, stack: Stack, approved: bool) -> None:
    chat = await driver.chat(_api(stack), id=f"chat-{uuid4()}", automatically=True)
    await chat.say("talk tool:clock({})")
    state = await chat.state()
    (tool,) = tools_of(state["messages"][-1])
    assert (state["status"], tool["state"]) == ("ready", "approval-requested"), state
    assert state["finished"][-1]["finishReason"] == "tool-calls"
    await chat.call(
        "addToolApprovalResponse", {"id": tool["approval"]["id"], "approved": approved, "reason": "because"}
    )
    state = await chat.until(
        lambda state: len(state["finished"]) == 2 and state["status"] == "ready", description="it has gone on"
    )
    (tool,) = tools_of(state["messages"][-1])
    assert tool["state"] == ("output-available" if approved else "output-denied")
    assert text_of(state) == _words(5) * 2
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"], "it is one message still"
    run_id = state["messages"][-1]["id"]
    first, second = [fetch["run"] for fetch in state["fetches"]]
    assert first == run_id
    assert second in (f"{run_id}.1", f"{run_id}.1-2"), "the runner may be at it already"
    steps = (await stack.http.get(f"{stack.url()}/v1/runs/{run_id}/steps")).json()["items"]
    assert {"approve": True, "deny": False}[steps[1]["output"]["decision"]] is approved


async def test_a_reload_shows_the_approval(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    await chat.say("tool:clock({})")
    for transport in ("default", "workflow"):
        reloaded = await driver.chat(
            _api(stack, "gateway-2"), id=chat_id, messages=(await chat.state())["messages"][:1], transport=transport
        )
        await reloaded.call("resumeStream")
        assert tools_of((await reloaded.state())["messages"][-1])[0]["state"] == "approval-requested"
    behind = await stack.http.post(
        _api(stack),
        json={"id": chat_id, "messages": [{"id": "m2", "role": "user", "parts": [{"type": "text", "text": "hello?"}]}]},
    )
    assert (behind.status_code, behind.json()["code"]) == (409, "chat_waits")
    waiting = (await chat.state())["messages"][-1]["id"]
    await chat.call("regenerate")
    again = (await chat.state())["messages"][-1]
    assert (again["id"] != waiting, tools_of(again)[0]["state"]) == (True, "approval-requested")
    assert (await stack.run(waiting))["status"] == "cancelled"


async def test_two_approvals_answered_one_after_the_other(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    await chat.say("tool:clock({}) tool:clock({})")
    first, second = tools_of((await chat.state())["messages"][-1])
    assert {first["state"], second["state"]} == {"approval-requested"}
    await chat.call("addToolApprovalResponse", {"id": first["approval"]["id"], "approved": True})
    await chat.call("sendMessage")  # the page may post each answer as it is given
    state = await chat.state()
    assert state["finished"][-1]["finishReason"] == "tool-calls", "the run waits on"
    assert tools_of(state["messages"][-1])[1]["state"] == "approval-requested"
    await chat.call("addToolApprovalResponse", {"id": second["approval"]["id"], "approved": False})
    await chat.call("sendMessage")
    state = await chat.state()
    assert [tool["state"] for tool in tools_of(state["messages"][-1])] == ["output-available", "output-denied"]
    assert text_of(state) == _words(5)
    await chat.call("sendMessage")
    assert "nothing_answered" in (await chat.state())["error"]


async def test_a_question_that_is_no_approval(driver: Driver, stack: Stack) -> None:
    chat = await driver.chat(_api(stack), id=f"chat-{uuid4()}", automatically=True, body={"agent": "asks"})
    await chat.say("go")
    state = await chat.state()
    last = state["messages"][-1]
    (tool,) = tools_of(last)
    (question,) = [part for part in last["parts"] if part["type"] == "data-question"]
    assert (tool["type"], tool["state"], tool["providerExecuted"]) == ("tool-ask", "input-available", False)
    assert question["data"]["question"]["text"] == tool["input"]["question"]["text"] == "Which size?"
    assert state["toolCalls"] == ["ask"], "the SDK hands it to the page"
    await chat.call("addToolOutput", {"tool": "ask", "toolCallId": tool["toolCallId"], "output": "XXL"})
    state = await chat.until(lambda state: state["status"] == "error", description="the answer is refused")
    assert "invalid_answer" in state["error"] or "422" in state["error"]
    await chat.call("addToolOutput", {"tool": "ask", "toolCallId": tool["toolCallId"], "output": "M"})
    state = await chat.until(lambda state: len(state["finished"]) == 3, description="it asks on")
    ship = tools_of(state["messages"][-1])[-1]
    assert (ship["type"], ship["state"], ship["input"]) == ("tool-ship", "approval-requested", {"size": "M"})
    await chat.call("addToolApprovalResponse", {"id": ship["approval"]["id"], "approved": False, "reason": "too far"})
    state = await chat.until(lambda state: len(state["finished"]) == 4, description="it is over")
    assert text_of(state) == "Let me ask. Size M. Not shipped: too far."
    assert tools_of(state["messages"][-1])[-1]["state"] == "output-denied"


async def test_what_happened_between_a_question_and_its_answer(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id, automatically=True, body={"agent": "meanwhile"})
    await chat.say("go")
    state = await chat.state()
    (asked,) = tools_of(state["messages"][-1])
    run_id = state["messages"][-1]["id"]

    async def waits_again() -> bool:
        run = await stack.run(run_id)
        return run["status"] == "waiting" and run["attempt"] > 1 and len(run["waiting"]) == 1

    await wait_until(waits_again, description="the sleep is over, and the question is still open")
    await chat.call("addToolApprovalResponse", {"id": asked["approval"]["id"], "approved": True})
    state = await chat.until(lambda state: len(state["finished"]) == 2, description="it has gone on")
    assert text_of(state) == "Meanwhile. Approved."
    assert tools_of(state["messages"][-1])[0]["state"] == "output-available"
    assert state["fetches"][-1]["run"].startswith(f"{run_id}.1")
    chunks = await _chunks(stack, state["fetches"][-1]["run"], 3)
    assert chunks == (await _chunks(stack, state["fetches"][-1]["run"], None))[3:]


async def test_steps_side_by_side_and_a_sleep(driver: Driver, stack: Stack) -> None:
    chat = await driver.chat(_api(stack), id=f"chat-{uuid4()}", body={"agent": "sideways"})
    await chat.say("go")
    state = await chat.state()
    assert text_of(state) == "right-1 right-2 left-1 left-2 over."
    assert [fetch["method"] for fetch in state["fetches"]] == ["POST"], "a sleep ends no stream"


@pytest.mark.parametrize("transport", ["default", "workflow"])
async def test_f37_an_error_is_the_sdk_s_error(driver: Driver, stack: Stack, transport: str) -> None:
    chat = await driver.chat(_api(stack), id=f"chat-{uuid4()}", transport=transport)
    await chat.say("fail:400")
    state = await chat.state()
    assert state["status"] == "error"
    assert "the model answered 400" in state["error"]
    assert state["finished"][-1]["isError"]
    assert [part["type"] for part in state["messages"][-1]["parts"]] == ["step-start", "data-error"]
    assert len(state["fetches"]) == 1, "it does not connect again"


async def test_regenerate(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    await chat.say("stamp")
    first = (await chat.state())["messages"]
    await chat.call("regenerate")
    second = (await chat.state())["messages"]
    assert [message["id"] for message in second] == [first[0]["id"], second[1]["id"]]
    assert second[1]["id"] != first[1]["id"]
    assert words_of(second[1]) != words_of(first[1]), "the model was asked again"
    recorded = (await stack.http.get(f"{_api(stack)}/{chat_id}/messages")).json()["items"]
    assert [(each["id"], words_of(each)) for each in recorded] == [(each["id"], words_of(each)) for each in second]
    await chat.say("and on")
    state = await chat.state()
    assert text_of(state) == _words(5)
    refused = await stack.http.post(
        _api(stack),
        json={"id": chat_id, "trigger": "regenerate-message", "messageId": second[1]["id"], "messages": first[:1]},
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "not_the_last_answer")


async def test_stop(driver: Driver, stack: Stack) -> None:
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    saying = asyncio.create_task(chat.say("slow:200x50"))
    state = await chat.until_said("chunk-2 ")
    run_id = state["messages"][-1]["id"]
    await chat.call("stop")
    await saying
    state = await chat.state()
    assert (state["status"], state["finished"][-1]["isAbort"]) == ("ready", True)
    assert (await stack.run(run_id))["status"] == "running", "the SDK's stop ends nothing but its connection"
    watching = await driver.chat(_api(stack), id=chat_id, transport="default", messages=state["messages"][:1])
    resuming = asyncio.create_task(watching.call("resumeStream"))
    await watching.until_said("chunk-3 ")
    stopped = await stack.http.post(f"{_api(stack)}/{chat_id}/stop")
    assert (stopped.status_code, stopped.json()["id"]) == (202, run_id)
    assert (await stack.until_status(run_id, "cancelled", "completed"))["status"] == "cancelled"
    await resuming
    assert (await watching.state())["finished"][-1]["finishReason"] == "other"
    assert (await stack.http.post(f"{_api(stack)}/{chat_id}/stop")).status_code == 204
    again = asyncio.create_task(chat.call("regenerate"))
    state = await chat.until(
        lambda state: len(state["fetches"]) == 2 and text_of(state), description="it answers again"
    )
    assert state["messages"][-1]["id"] != run_id
    active = asyncio.create_task(chat.call("regenerate"))  # of an answer that is not over: that one is stopped first
    state = await chat.until(lambda state: len(state["fetches"]) == 3 and text_of(state), description="and once more")
    assert (await stack.http.post(f"{_api(stack)}/{chat_id}/stop")).status_code == 202
    await asyncio.gather(again, active)


async def test_f58_the_same_message_twice_is_one_run(stack: Stack) -> None:
    body = {
        "id": f"chat-{uuid4()}",
        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}],
    }
    answers = await asyncio.gather(*(stack.http.post(_api(stack), json=body) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-workflow-run-id"] for answer in answers}) == 1
    frames = {answer.text.partition(": holdfast\n\n")[2].replace(": keepalive\n\n", "") for answer in answers}
    assert len(frames) == 1
    assert frames.pop().endswith("data: [DONE]\n\n")
    headers = answers[0].headers
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["x-vercel-ai-ui-message-stream"], headers["cache-control"]) == ("v1", "no-cache")
    body["messages"][0]["parts"][0]["text"] = "something else"  # type: ignore[index]  # it is what it is
    other = await stack.http.post(_api(stack), json=body)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_f58_a_message_that_was_said_is_not_behind_a_run_that_waits(stack: Stack) -> None:
    chat_id, ident = f"{'c' * 90}-{uuid4()}", "m" * 200  # as long as they may be
    said = {"id": ident, "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    asks = {"id": "m2", "role": "user", "parts": [{"type": "text", "text": "tool:clock({})"}]}
    first, _, again = [
        await stack.http.post(_api(stack), json={"id": chat_id, "messages": [each]}) for each in (said, asks, said)
    ]
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert first.headers["x-workflow-run-id"] == again.headers["x-workflow-run-id"]


async def _messages(stack: Stack, chat_id: str) -> list[dict[str, Any]]:
    answer = await stack.http.get(f"{_api(stack)}/{chat_id}/messages")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_regenerate_what_the_native_api_said(stack: Stack) -> None:
    run = await stack.submit("hello")
    await stack.until_status(run["id"], "completed")
    for _ in range(2):
        said, _ = await _messages(stack, run["thread_id"])
        body = {"id": run["thread_id"], "trigger": "regenerate-message", "messages": [said]}
        answer = await stack.http.post(_api(stack), json=body)
        assert answer.status_code == 200, answer.text
    assert [message["role"] for message in await _messages(stack, run["thread_id"])] == ["user", "assistant"]
    other = f"chat-{uuid4()}"
    body = {"id": run["thread_id"], "messages": [{**said, "id": "m2"}]}
    second = (await stack.http.post(_api(stack), json=body)).headers["x-workflow-run-id"]
    forked = await stack.http.post(f"{stack.url()}/v1/runs/{second}/fork", json={"thread_id": other})
    await stack.until_status(forked.json()["id"], "completed")
    copied = await _messages(stack, other)
    assert len({message["id"] for message in copied}) == len(copied) == 4, "each has an id of its own"
    assert [message["id"] for message in copied[2:]] == ["m2", forked.json()["id"]]


async def test_of_two_that_regenerate_at_once_one_answer_stays(stack: Stack) -> None:
    said = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    body = {"id": f"chat-{uuid4()}", "messages": [said]}
    await stack.http.post(_api(stack), json=body)
    again = {**body, "trigger": "regenerate-message"}
    both = await asyncio.gather(*(stack.http.post(_api(stack, f"gateway-{n}"), json=again) for n in (1, 2)))
    _, answered = await _messages(stack, str(body["id"]))
    ends = {each.headers["x-workflow-run-id"]: _of(each.text)[-1]["finishReason"] for each in both}
    assert ends.pop(answered["id"]) == "stop"
    assert {*ends.values()} <= {"other"}, "the one that came a moment later has cancelled the other's"


async def test_what_is_refused(stack: Stack) -> None:
    said = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    file = {"id": "m1", "role": "user", "parts": [{"type": "file", "url": "data:,x", "mediaType": "text/plain"}]}
    for body, status, code in [
        ({"messages": []}, 422, "invalid_request"),
        ({"id": "a/b", "messages": [said]}, 422, "invalid_request"),
        ({"id": f"chat-{uuid4()}", "messages": [file]}, 422, "invalid_request"),
        ({"id": f"chat-{uuid4()}", "messages": [{**said, "parts": []}]}, 422, "invalid_request"),
        (
            {"id": f"chat-{uuid4()}", "messages": [{**said, "parts": [{"type": "text", "text": None}]}]},
            422,
            "invalid_request",
        ),
        ({"id": f"chat-{uuid4()}", "messages": [said], "agent": "nobody"}, 422, "unknown_agent"),
        ({"id": f"chat-{uuid4()}", "messages": [said, {**said, "role": "assistant"}]}, 409, "nothing_answered"),
    ]:
        answer = await stack.http.post(_api(stack), json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await stack.http.get(f"{_api(stack)}/nobody/stream")).status_code == 204
    assert (await stack.http.get(f"{_api(stack)}/nobody/stream?startIndex=x")).status_code == 422


async def test_a_message_that_never_arrived_is_said_when_it_is_given_anew(stack: Stack) -> None:
    said = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    body = {"id": f"chat-{uuid4()}", "trigger": "regenerate-message", "messages": [said]}
    answer = await stack.http.post(_api(stack), json=body)
    assert answer.status_code == 200
    assert "".join(chunk.get("delta", "") for chunk in _of(answer.text)) == _words(5)


async def test_a_key_has_its_own_chats_and_its_own_places(stack: Stack) -> None:
    await _with_keys(stack)
    api, mine = _api(stack, "gateway-keys"), {"authorization": f"Bearer {_KEY}"}
    said = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hang"}]}
    body = {"id": f"chat-{uuid4()}", "messages": [said]}
    assert (await stack.http.post(api, json=body)).status_code == 401
    async with stack.http.stream("POST", api, json=body, headers=mine) as open_stream:
        assert open_stream.status_code == 200
        second = await stack.http.get(f"{api}/{body['id']}/stream", headers=mine)
        assert (second.status_code, second.json()["code"]) == (429, "too_many_streams")
    assert (await stack.http.post(f"{api}/{body['id']}/stop", headers=mine)).status_code == 202


async def _with_keys(stack: Stack) -> None:
    """A gateway that wants the key."""
    if "gateway-keys" not in stack.services:
        env = {"HOLDFAST_AUTH": "keys", "HOLDFAST_BOOTSTRAP_KEY": _KEY, "HOLDFAST_STREAMS_PER_KEY_MAX": "1"}
        await stack.add("gateway", "gateway-keys", env)


async def test_every_start_index_gives_the_exact_suffix(driver: Driver, stack: Stack) -> None:
    chat = await driver.chat(_api(stack), id=f"chat-{uuid4()}", automatically=True)
    await chat.say('talk tool:calculate({"expression": "6*7"}) then tool:clock({})')
    asked = tools_of((await chat.state())["messages"][-1])[-1]
    await chat.call("addToolApprovalResponse", {"id": asked["approval"]["id"], "approved": True})
    state = await chat.until(lambda state: len(state["finished"]) == 2, description="it is over")
    for name in [fetch["run"] for fetch in state["fetches"]]:
        whole = await _chunks(stack, name, None)
        assert whole[-1]["type"] == "finish"
        for index in range(len(whole) + 1):
            gateway = f"gateway-{index % 2 + 1}"
            assert await _chunks(stack, name, index, gateway) == (whole[index:] or whole[-1:]), (name, index)
        for index in (1, 5, len(whole), len(whole) + 3):
            answer = await stack.http.get(f"{_api(stack)}/{name}/stream?startIndex=-{index}")
            assert answer.headers["x-workflow-stream-tail-index"] == str(len(whole) - 1)
            assert _of(answer.text) == whole[-index:]


async def test_from_the_end_of_a_chat_that_goes_on(driver: Driver, stack: Stack) -> None:
    """The tail's index is the client's way to count on; in between it drops what belongs to a part that began before."""
    chat_id = f"chat-{uuid4()}"
    chat = await driver.chat(_api(stack), id=chat_id)
    saying = asyncio.create_task(chat.say("slow:15x60"))
    await chat.until_said("chunk-3 ")
    told = await driver.do("reconnect", api=_api(stack, "gateway-2"), id=chat_id, startIndex=-1)
    assert int(told["fetches"][0]["tail"]) >= 5
    assert told["chunks"][-1]["type"] == "finish"
    await saying
    await chat.say("tool:clock({})")
    answer = await stack.http.get(f"{_api(stack)}/{chat_id}/stream?startIndex=-3")
    assert [chunk["type"] for chunk in _of(answer.text)] == ["tool-approval-request", "finish-step", "finish"]


async def _chunks(stack: Stack, name: str, start_index: int | None, gateway: str = "gateway-1") -> list[dict[str, Any]]:
    query = "" if start_index is None else f"?startIndex={start_index}"
    answer = await stack.http.get(f"{_api(stack, gateway)}/{name}/stream{query}")
    assert (answer.status_code, answer.headers["x-workflow-run-id"]) == (200, name)
    return _of(answer.text)


def _of(body: str) -> list[dict[str, Any]]:
    frames = [frame.removeprefix("data: ") for frame in body.split("\n\n") if frame.startswith("data: ")]
    assert frames.pop() == "[DONE]"
    return [json.loads(frame) for frame in frames]


async def test_the_workflow_transport_as_it_comes(driver: Driver, stack: Stack) -> None:
    """It sends ``{messages}`` as text/plain, and no id: the first message names the chat, and the second turn finds it."""
    chat = await driver.chat(_api(stack), plain=True, id=f"chat-{uuid4()}")
    await chat.say("hello")
    await chat.say("many:3")
    state = await chat.state()
    assert [words_of(message) for message in state["messages"]] == ["hello", _words(5), "many:3", _words(3)]
    first = state["messages"][0]["id"]
    recorded = (await stack.http.get(f"{_api(stack)}/{first}/messages")).json()["items"]
    assert [message["id"] for message in recorded] == [message["id"] for message in state["messages"]]


async def test_the_example(stack: Stack) -> None:
    script = Path(__file__).parents[3] / "examples" / "clients" / "use_chat.mjs"
    asked = "talk tool:clock({}) tool:clock({})"
    printed = await run_node(script, asked, env={"HOLDFAST_URL": stack.url()}, says="y\nn\n")
    assert printed == "clock {}? [y/n] " * 2 + _words(5) * 2 + "\n"


# -- what dies meanwhile: a runner, a gateway, a gateway that stops, the log ---------------------------------------------


async def _saying(driver: Driver, url: str, text: str, until: str, **init: Any) -> tuple[Chat, asyncio.Task[None]]:
    """A chat that is being answered, as far as these words."""
    chat = await driver.chat(f"{url}/ai-sdk/chat", id=f"chat-{uuid4()}", **init)
    saying = asyncio.create_task(chat.say(text))
    await chat.until_said(until)
    return chat, saying


async def _in_the_end(chat: Chat, saying: asyncio.Task[None]) -> dict[str, Any]:
    await saying
    state = await chat.state()
    assert (state["status"], state.get("error")) == ("ready", None), state
    assert [message["role"] for message in state["messages"]] == ["user", "assistant"]
    return state


def _port(stack: Stack, name: str) -> int:
    return int(stack.services[name].where.rpartition(":")[2])


async def test_f32_the_runner_is_killed(driver: Driver, stack: Stack) -> None:
    chat, saying = await _saying(
        driver, stack.url(), 'talk tool:calculate({"expression": "6*7"}) slow:15x60', _words(15) + _words(3)
    )
    await stack.until_reapers_see()
    stack.services["runner-1"].kill()
    await stack.add("runner", "runner-2")
    state = await _in_the_end(chat, saying)
    assert text_of(state) == _words(15) * 2
    assert [tool["output"] for tool in tools_of(state["messages"][-1])] == [42]
    assert [fetch["method"] for fetch in state["fetches"]] == ["POST"], "nothing was cut"


async def test_f30_the_gateway_is_killed(driver: Driver, stack: Stack) -> None:
    async with Balancer([_port(stack, "gateway-2"), _port(stack, "gateway-1")]) as balancer:
        chat, saying = await _saying(driver, balancer.url, "slow:25x60", "chunk-4 ")
        stack.services["gateway-2"].kill()
        state = await _in_the_end(chat, saying)
    assert text_of(state) == _words(25)
    post, *resumed = state["fetches"]
    assert {fetch["status"] for fetch in resumed} == {200}
    assert f"/{post['run']}/stream?startIndex=" in resumed[0]["url"]


async def test_the_gateway_stops(driver: Driver, stack: Stack) -> None:
    await _with_keys(stack)
    async with Balancer([_port(stack, "gateway-keys"), _port(stack, "gateway-1")]) as balancer:
        chat, saying = await _saying(driver, balancer.url, "slow:25x60", "chunk-4 ", key=_KEY)
        stopping = asyncio.create_task(stack.services["gateway-keys"].stop())
        state = await _in_the_end(chat, saying)
        await stopping
    assert text_of(state) == _words(25)
    assert len(state["fetches"]) > 1, "its stream was reset, not ended"


async def test_f41_the_log_is_lost(driver: Driver, stack: Stack) -> None:
    async with Balancer([_port(stack, "gateway-1")]) as balancer:
        chat, saying = await _saying(driver, balancer.url, "slow:30x40", "chunk-4 ")
        client = await nats.connect(stack.nats.url)
        await client.jetstream().delete_stream("RUN_EVENTS")
        await client.close()
        balancer.cut()  # so that the client comes back, in the middle, with the startIndex of a log that is no more
        state = await _in_the_end(chat, saying)
    assert text_of(state) == _words(30)
    assert len(state["fetches"]) > 1
