"""The client on a whole Holdfast: what it is made for, and what happens to gateways and on the way to them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest

from holdfast import http
from holdfast_client import Holdfast, NotFound, Refused, RunCancelled, RunWaiting, Unreachable, chat, sync
from holdfast_local.ports import free_ports, is_free
from tests.integration.ai_sdk.balancer import Balancer
from tests.integration.client.conftest import golden
from tests.integration.client.early_proxy import EarlyProxy
from tests.support.stack import Stack
from tests.support.viewer import Viewer
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_run_from_submit_to_its_result_and_a_thread_of_two(holdfast: Holdfast) -> None:
    thread = f"chat-{uuid4()}"
    run = await holdfast.submit("counter", chat("3"), thread=thread, metadata={"user": 7})
    assert run.state is not None
    assert (run.state.thread_id, run.state.metadata) == (thread, {"user": 7})
    async with aclosing(run.events()) as events:
        ids = [(event.id, event.type) async for event in events]
    assert (ids[0][1], ids[-1][1]) == ("run.queued", "run.completed")
    assert ids == sorted(ids)
    transcript = await run.transcript()
    assert (transcript.text, transcript.status) == (golden(3), "completed")
    assert await run.result() == transcript.output

    second = await holdfast.submit("echo", chat("again"), thread=thread)
    await second.result(20)
    assert {shown.id for shown in await holdfast.runs(thread=thread)} == {run.id, second.id}
    assert [message.role for message in await holdfast.messages(thread)] == ["user", "assistant"] * 2
    assert [step.status for step in await run.steps()] == ["completed"]
    assert {"assistant", "echo", "painter"} <= {agent.name for agent in await holdfast.agents()}
    [pod] = await holdfast.pods()
    assert [attempt.pod for attempt in await run.attempts()] == [pod.pod]


async def test_every_cursor_gives_the_rest(holdfast: Holdfast) -> None:
    run = await holdfast.submit("counter", chat("3x5"))
    async with aclosing(run.events()) as events:
        whole = [event async for event in events]
    for seen, event in enumerate(whole, 1):
        async with aclosing(run.events(event.id)) as events:
            assert [rest async for rest in events] == whole[seen:]


async def test_a_gateway_that_is_killed_and_comes_back_is_no_end(stack: Stack) -> None:
    links: list[Unreachable | None] = []
    gateway = stack.services["gateway-2"]
    async with Holdfast(stack.url("gateway-2"), "") as holdfast:
        run = await holdfast.submit("counter", chat("40x40"))
        text, killed = "", False
        async with aclosing(run.events(on_link=links.append)) as events:
            async for event in events:
                text += event.data["text"] if event.type == "text.delta" else ""
                if text.endswith("chunk-5 ") and not killed:
                    gateway.kill()
                    killed = True
                    restart = asyncio.create_task(gateway.start())
        await restart
        assert text == golden(40)
        assert await run.result() is not None
    away, back = links
    assert away is not None
    assert not away.reached
    assert back is None


async def test_one_gateway_is_killed_and_one_drained_and_every_client_ends_with_the_golden_text(stack: Stack) -> None:
    words = 70  # 2.8 seconds
    await stack.add("gateway", "gateway-3")
    names = ("gateway-2", "gateway-3", "gateway-1")
    ports = [int(stack.services[name].where.rpartition(":")[2]) for name in names]
    async with (
        Balancer(ports) as balancer,
        Holdfast(balancer.url, "") as holdfast,
        Holdfast(balancer.url, "", polling=True) as behind_a_proxy,
    ):
        run = await holdfast.submit("counter", chat(f"{words}x40"))
        viewer = Viewer(lambda: balancer.url, run.id)
        viewing = asyncio.create_task(viewer.follow())
        clients = [asyncio.create_task(each.run(run.id).transcript()) for each in (holdfast, behind_a_proxy)]
        await viewer.until("text.delta", count=8)
        stack.services["gateway-2"].kill()
        await viewer.until("text.delta", count=16)
        clients.append(asyncio.create_task(holdfast.run(run.id).transcript()))
        draining = asyncio.create_task(stack.services["gateway-3"].stop())
        for transcript in await asyncio.gather(*clients):
            assert (transcript.status, transcript.text) == ("completed", golden(words))
        await viewing
        assert await draining  # in good order
        assert await run.result() == {"counted": words}
    assert viewer.connects >= 3, "the run was to outlast both gateways"
    assert viewer.duplicates == 0
    assert viewer.fold.text == golden(words)
    assert viewer.types().count("run.completed") == 1
    assert "snapshot" not in viewer.types()  # nothing was lost, so nothing had to be mended


async def test_f37_a_proxy_that_ends_streams_cleanly_is_not_believed(stack: Stack) -> None:
    proxy, port = EarlyProxy(stack.url(), events_max=4), free_ports(1)[0]
    async with http.serving(proxy, "127.0.0.1", port), Holdfast(f"http://127.0.0.1:{port}", "") as holdfast:
        await wait_until(lambda: not is_free(port), description="the proxy listens")
        run = await holdfast.submit("counter", chat("12x10"))
        transcript = await run.transcript()
    await proxy.close()
    assert (transcript.text, transcript.status) == (golden(12), "completed")
    assert proxy.ended >= 3


async def test_a_long_answer_is_whole(stack: Stack, holdfast: Holdfast) -> None:
    run = await holdfast.submit("counter", chat("5000"))
    assert (await run.transcript()).text == golden(5000)
    async with Holdfast(stack.url(), "", polling=True) as polling:
        assert (await polling.run(run.id).transcript()).text == golden(5000)


async def test_long_polls_end_with_the_same_text(stack: Stack) -> None:
    async with Holdfast(stack.url(), "", polling=True) as holdfast:
        run = await holdfast.submit("counter", chat("10x20"))
        assert (await run.transcript()).text == golden(10)
        assert (await run.transcript()).text == golden(10)


async def test_a_question_is_met_and_answered(holdfast: Holdfast) -> None:
    run = await holdfast.submit("painter", chat("paint"))
    with pytest.raises(RunWaiting) as waiting:
        await run.result(20, raise_on_waiting=True)
    [question] = waiting.value.questions
    assert question.answer_schema["enum"] == ["red", "blue"]
    with pytest.raises(Refused) as refused:
        await run.answer(question.question_id, "green")
    assert refused.value.code == "invalid_answer"
    await run.answer(question.question_id, "red")
    with pytest.raises(RunWaiting) as asked_again:
        await run.result(20, raise_on_waiting=True)
    [approval] = asked_again.value.questions
    await run.answer(approval.question_id, {"decision": "approve"})
    assert await run.result(20) == {"said": "painted it red"}
    with pytest.raises(Refused) as late:
        await run.answer(approval.question_id, {"decision": "deny"})
    assert late.value.code == "already_answered"


async def test_a_run_is_cancelled_and_forked(holdfast: Holdfast) -> None:
    run = await holdfast.submit("painter", chat("paint"))
    with pytest.raises(RunWaiting):
        await run.result(20, raise_on_waiting=True)
    assert (await run.cancel()).status == "cancelled"
    assert (await run.cancel()).status == "cancelled"
    with pytest.raises(RunCancelled):
        await run.result(20)
    fork = await run.fork(thread=f"fork-{uuid4()}")
    assert fork.state is not None
    assert (fork.state.forked_from, fork.id != run.id) == (run.id, True)
    with pytest.raises(RunWaiting):
        await fork.result(20, raise_on_waiting=True)
    await fork.cancel()


async def test_refusals_have_types(holdfast: Holdfast) -> None:
    with pytest.raises(Refused, match=r"there are .*assistant") as unknown:
        await holdfast.submit("nobody", {})
    assert (unknown.value.status, unknown.value.code) == (422, "unknown_agent")
    with pytest.raises(NotFound):
        await holdfast.run(str(uuid4())).refresh()
    key = str(uuid4())
    first = await holdfast.submit("echo", chat("a"), idempotency_key=key)
    assert (await holdfast.submit("echo", chat("a"), idempotency_key=key)).id == first.id
    with pytest.raises(Refused) as mismatch:
        await holdfast.submit("echo", chat("b"), idempotency_key=key)
    assert mismatch.value.code == "idempotency_mismatch"
    with pytest.raises(Refused) as ahead:
        async with aclosing(first.events("9-9")) as events:
            await anext(events)
    assert ahead.value.code == "invalid_cursor"


async def test_the_feed_shows_a_run_s_life_and_goes_on_at_its_cursor(holdfast: Holdfast) -> None:
    async with asyncio.timeout(20), aclosing(holdfast.feed()) as feed:
        first = await anext(feed)
        assert first.type == "snapshot"
        run = await holdfast.submit("echo", chat("hi"))
        seen = []
        async for event in feed:
            if event.type == "run.changed" and event.data["run_id"] == run.id:
                seen.append(event)
                if event.data["status"] == "completed":
                    break
    statuses = [event.data["status"] for event in seen]
    assert (statuses[0], statuses[-1]) == ("queued", "completed")
    async with asyncio.timeout(20), aclosing(holdfast.feed(seen[0].id)) as feed:
        again = []
        async for event in feed:
            if event.type == "run.changed" and event.data["run_id"] == run.id:
                again.append(event)
            if again == seen[1:]:
                break


async def test_the_sync_face_does_the_same(stack: Stack) -> None:
    def work() -> tuple[list[str], str, object]:
        with sync.Holdfast(stack.url(), "") as holdfast:
            run = holdfast.submit("counter", chat("3"))
            types = [event.type for event in run.events()]
            return types, run.transcript().text, run.result()

    types, text, output = await asyncio.to_thread(work)
    assert (types[0], types[-1], text) == ("run.queued", "run.completed", golden(3))
    assert output is not None
