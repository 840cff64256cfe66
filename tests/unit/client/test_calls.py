"""Requests: what is sent, what is sent again, and what the answers become."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx2
import pytest

from holdfast_client import (
    Holdfast,
    HoldfastClientError,
    KeyNotUsable,
    KeyRefused,
    NotAGateway,
    NotFound,
    Refused,
    Run,
    Unreachable,
    chat,
)
from tests.unit.client.conftest import Pauses
from tests.unit.local.stub_gateway import RUN_ID, StubGateway, problem, run_shown

RUN, SUBMIT = f"GET /v1/runs/{RUN_ID}", "POST /v1/runs"
ANSWER, CANCEL, FORK = (f"POST /v1/runs/{RUN_ID}/{name}" for name in ("answer", "cancel", "fork"))
FORK_ID = "0198c0de-0000-7000-8000-000000000009"
LOST: list[object] = [httpx2.ReadError("lost"), httpx2.ConnectError("restarting"), problem(503, "draining", "stopping")]


async def test_f58_a_submit_whose_answer_got_lost_is_the_same_submit(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {SUBMIT: [*LOST, run_shown(status="queued")]}
    run = await holdfast.submit("assistant", chat("hi"), thread="chat")
    assert (run.id, run.state and run.state.status) == (RUN_ID, "queued")
    assert len({headers["idempotency-key"] for _, headers, _ in stub.requests}) == 1
    body = {"agent": "assistant", "input": {"messages": [{"role": "user", "content": "hi"}]}, "thread_id": "chat"}
    assert [sent for _, _, sent in stub.requests] == [body] * 4


async def test_two_submits_are_two_and_one_with_a_given_key_is_one(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {SUBMIT: run_shown()}
    for key in (None, None, "order 7"):
        await holdfast.submit("assistant", {}, idempotency_key=key)
    keys = [headers["idempotency-key"] for _, headers, _ in stub.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "order 7"
    for wrong in ("", "é", "a\nb", " x", "x" * 256):
        with pytest.raises(ValueError, match="an idempotency key is"):
            await holdfast.submit("assistant", {}, idempotency_key=wrong)


async def test_a_submit_sends_what_was_chosen_and_nothing_else(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {SUBMIT: run_shown()}
    hook = {"url": "https://example.org/hook", "secret": "whsec_x"}
    await holdfast.submit(
        "assistant", None, on_busy="reject", on_owner_lost="fail", on_unknown="ask", max_crashes=1, idle_timeout_s=9,
        deadline_s=1.5, metadata={"user": 7}, webhook=hook,
    )  # fmt: skip
    assert stub.requests[0][2] == {
        "agent": "assistant", "input": None, "on_busy": "reject", "on_owner_lost": "fail", "on_unknown": "ask",
        "max_crashes": 1, "idle_timeout_s": 9, "deadline_s": 1.5, "metadata": {"user": 7}, "webhook": hook,
    }  # fmt: skip


async def test_a_gateway_that_was_never_there_is_an_error_at_once(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {SUBMIT: httpx2.ConnectError("refused"), RUN: httpx2.ConnectTimeout("late")}
    for asked in (holdfast.submit("a", {}), holdfast.run(RUN_ID).refresh()):
        with pytest.raises(Unreachable, match=r"^no gateway at http://gateway\.test$") as away:
            await asked
        assert not away.value.reached
    assert len(stub.requests) == 2


async def test_a_certificate_that_does_not_fit_is_told(stub: StubGateway, run: Run) -> None:
    stub.answers = {RUN: httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")}
    with pytest.raises(
        Unreachable, match=r"^no safe connection to http://gateway\.test: \[SSL: CERTIFICATE_VERIFY_FAILED\]"
    ):
        await run.refresh()


async def test_one_that_was_there_is_waited_for(stub: StubGateway, holdfast: Holdfast, run: Run) -> None:
    stub.answers = {RUN: [*LOST, run_shown()]}
    assert (await run.refresh()).ended
    stub.answers = {RUN: httpx2.ConnectError("gone")}
    with pytest.raises(Unreachable, match=r"no gateway at http://gateway\.test; gave up after 0\.3 s"):
        await run.refresh()
    before = len(stub.requests)
    with pytest.raises(Unreachable):
        await holdfast.call("GET", f"/v1/runs/{RUN_ID}", patience_s=0)
    assert len(stub.requests) == before + 1


@pytest.mark.parametrize("command", ["answer", "resume", "fork"])
async def test_what_must_not_be_done_twice_is_asked_again_only_if_it_was_not_begun(
    stub: StubGateway, run: Run, command: str
) -> None:
    def ask() -> Any:
        return run.answer("q", "red") if command == "answer" else getattr(run, command)()

    called = f"POST /v1/runs/{RUN_ID}/{command}"
    draining = problem(503, "draining", "stopping")
    stub.answers = {called: [draining, httpx2.ConnectError("restarting"), run_shown(id=FORK_ID)]}
    assert (await ask()).id == FORK_ID
    stub.answers = {called: [httpx2.ReadError("lost"), run_shown()]}
    with pytest.raises(Unreachable, match="broke the connection") as away:
        await ask()
    assert (away.value.reached, away.value.gave_up_after_s) == (True, None)


async def test_a_cancel_is_done_when_the_run_is_cancelled(stub: StubGateway, run: Run) -> None:
    ended = problem(409, "run_ended", "the run has ended already")
    stub.answers = {CANCEL: [httpx2.ReadError("lost"), ended], RUN: run_shown(status="cancelled")}
    assert (await run.cancel()).status == "cancelled"
    stub.answers = {CANCEL: ended, RUN: run_shown(status="completed")}
    with pytest.raises(Refused, match="has ended already") as refused:
        await run.cancel()
    assert (refused.value.status, refused.value.code) == (409, "run_ended")


async def test_a_fork_is_a_run_of_its_own(stub: StubGateway, run: Run) -> None:
    stub.answers = {FORK: run_shown(id=FORK_ID, status="queued")}
    fork = await run.fork(from_position="3", thread="other")
    assert (fork.id, run.id) == (FORK_ID, RUN_ID)
    assert stub.requests[0][2] == {"from_position": "3", "thread_id": "other"}


async def test_retry_after_is_heeded(stub: StubGateway, pauses: Pauses) -> None:
    busy = problem(429, "too_many_streams", "10000", **{"retry-after": "4"})
    stub.answers = {RUN: [busy, problem(503, "draining", "x", **{"retry-after": "9999"}), run_shown()]}
    async with Holdfast("http://gateway.test", "", patience_s=100, transport=stub.transport()) as holdfast:
        await holdfast.run(RUN_ID).refresh()
    assert pauses == [4, 30]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (problem(401, "key_invalid", "not known"), KeyRefused, "^not known$"),
        (problem(404, "run_not_found", "no run 'x'"), NotFound, "^no run 'x'$"),
        (problem(403, "host_not_loopback", "not from there"), Refused, "^not from there$"),
        (httpx2.Response(404, text="<html>"), NotAGateway, "answered 404 Not Found: is it a Holdfast gateway"),
        (httpx2.Response(301, headers={"location": "https://x/"}), NotAGateway, "pointing at https://x/: is it a"),
        (httpx2.Response(200, text="<html>"), NotAGateway, "did not answer with JSON"),
        (problem(500, "internal_error", "a bug"), Refused, "^a bug$"),
        (httpx2.Response(200, json={"id": 7}), NotAGateway, "does not answer as Holdfast does: RunState"),
        (httpx2.DecodingError("gzip"), NotAGateway, "does not answer as Holdfast does: gzip"),
    ],
)
async def test_errors_have_types_and_words(
    stub: StubGateway, run: Run, answer: object, error: type[HoldfastClientError], words: str
) -> None:
    stub.answers = {RUN: answer}
    with pytest.raises(error, match=words):
        await run.refresh()
    assert len(stub.requests) == 1


async def test_the_password_of_a_url_is_sent_beside_the_key_and_not_shown(stub: StubGateway) -> None:
    answers = [httpx2.ConnectError("refused"), httpx2.Response(200, text="<html>")]
    stub.answers = {f"GET /sub/v1/runs/{RUN_ID}": answers}
    async with Holdfast("http://me:hidden@gateway.test/sub/", "hf_x", transport=stub.transport()) as holdfast:
        for kind in (Unreachable, NotAGateway):
            with pytest.raises(kind, match=r"http://gateway\.test/sub") as error:
                await holdfast.run(UUID(RUN_ID)).refresh()
            assert "hidden" not in str(error.value)
    headers = stub.requests[0][1]
    assert (headers["authorization"], headers["x-api-key"]) == ("Basic bWU6aGlkZGVu", "hf_x")


async def test_a_refusal_says_every_place_that_is_wrong(stub: StubGateway, holdfast: Holdfast) -> None:
    errors = [{"loc": ["body", "agent"], "msg": "Field required"}, {"loc": ["body", "max_crashes"], "msg": "too small"}]
    body = {"code": "invalid_request", "detail": "body.agent: Field required", "errors": errors, "known": ["a", "b"]}
    stub.answers = {SUBMIT: httpx2.Response(422, json=body, headers={"content-type": "application/problem+json"})}
    with pytest.raises(Refused) as refused:
        await holdfast.submit("x", {})
    assert refused.value.message == "body.agent: Field required; there are a, b; max_crashes: too small"
    assert (refused.value.status, refused.value.code, refused.value.errors) == (422, "invalid_request", errors)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://here", "http://", "", "http://[::1"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(NotAGateway, match="is not the URL of a gateway"):
        Holdfast(url)


@pytest.mark.parametrize("key", ["é", "bad\nkey", "two words", "\udce9"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str) -> None:
    with pytest.raises(KeyNotUsable) as error:
        Holdfast("http://gateway.test", key)
    assert key not in str(error.value)


async def test_url_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, stub: StubGateway) -> None:
    monkeypatch.setenv("HOLDFAST_URL", "http://elsewhere.test/")
    monkeypatch.setenv("HOLDFAST_KEY", "hf_x")
    stub.answers = {"GET /v1/agents": {"items": [{"name": "echo"}], "next_cursor": None}}
    async with Holdfast(transport=stub.transport()) as holdfast:
        assert holdfast.url == "http://elsewhere.test"
        assert [agent.name for agent in await holdfast.agents()] == ["echo"]
    assert stub.requests[0][1]["authorization"] == "Bearer hf_x"


async def test_lists_are_pages(stub: StubGateway, holdfast: Holdfast, run: Run) -> None:
    message = {"id": "m", "run_id": RUN_ID, "role": "user", "parts": [{"type": "text", "text": "hi"}], "later": 1}
    stub.answers = {
        "GET /v1/runs": {"items": [run_shown(), run_shown(status="failed")], "next_cursor": "c1"},
        "GET /v1/threads": {"items": [{"id": "chat"}], "next_cursor": None},
        "GET /v1/threads/a:b/messages": {"items": [message], "next_cursor": None},
        f"{RUN}/steps": {"items": [], "next_cursor": None},
        f"{RUN}/attempts": {"items": [{"attempt": 1, "pod": "p", "boot": "b"}], "next_cursor": None},
        "GET /v1/pods": {"nothing": 1},
    }
    page = await holdfast.runs(status=["queued", "failed"], limit=2, cursor="c0")
    assert ([each.status for each in page], page.next_cursor, len(page)) == (["completed", "failed"], "c1", 2)
    assert stub.requests[0][2] == "status=queued&status=failed&limit=2&cursor=c0"
    await holdfast.runs(status="waiting")
    assert stub.requests[1][2] == "status=waiting&limit=50"
    assert [thread.id for thread in await holdfast.threads()] == ["chat"]
    [shown] = await holdfast.messages("a:b")
    assert (shown.text, shown.as_json()) == ("hi", message)
    assert len(await run.steps()) == 0
    assert [attempt.pod for attempt in await run.attempts()] == ["p"]
    with pytest.raises(NotAGateway, match="/v1/pods is no page"):
        await holdfast.pods()


async def test_a_state_gives_back_the_json_that_it_was_made_from(stub: StubGateway, run: Run) -> None:
    wait = {
        "kind": "ask",
        "position": "1",
        "question_id": "q",
        "schema": {"type": "string"},
        "since": "2026-01-01T00:00:02.500000Z",
    }
    shown = run_shown(waiting=[wait], a_later_field=[1], error={"code": "c", "message": "m", "step": "3"})
    stub.answers = {RUN: shown}
    assert (await run.refresh()).as_json() == shown


async def test_what_has_no_method_is_called_by_its_path(stub: StubGateway, holdfast: Holdfast) -> None:
    stub.answers = {"DELETE /v1/threads/chat": httpx2.Response(204), "PUT /v1/x": {"y": 1}}
    assert await holdfast.call("DELETE", "/v1/threads/chat") is None
    assert await holdfast.call("PUT", "/v1/x", params={"a": 1, "b": None}, json={"c": 2}) == {"y": 1}
    with pytest.raises(ValueError, match="begins with /"):
        await holdfast.call("GET", ".elsewhere.test/v1/x")
