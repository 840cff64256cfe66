"""A run's durable work as its agent sees it: what a step is told, what it gives back, where its code runs, how it fails."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from holdfast.errors import AgentFailed
from holdfast_agent import OnUnknown, PermanentError, Retry, RetryableError, Run
from holdfast_agent.retry import ONCE
from tests.unit.agent.recorded_types import Colour, Hidden, Line
from tests.unit.agent.scripted_backend import ScriptedBackend, run_over

KEY = "00000000-0000-0000-0000-000000000001"


def add(a: int, b: int) -> int:
    return a + b


async def test_a_step_says_what_it_is() -> None:
    backend = ScriptedBackend()
    retry = Retry(tries=5, on=(TimeoutError,))
    run = run_over(backend)
    assert await run.step("add", add, 1, 2) == 3
    assert (
        await run.step(
            "add", add, 1, 2, idempotent=True, on_unknown="fail", retry=retry, timeout_s=9.0, call_id="call-1"
        )
        == 3
    )
    plain, full = backend.specs
    assert (plain.kind, plain.name, plain.request, plain.input) == ("tool", "add", [1, 2], [1, 2])
    assert (plain.call_id, plain.idempotent, plain.on_unknown, plain.retry) == (None, False, None, ONCE)
    assert plain.timeout_s is None
    assert (full.call_id, full.idempotent, full.on_unknown, full.retry) == ("call-1", True, OnUnknown.FAIL, retry)
    assert full.timeout_s == 9.0


async def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="perhaps"):
        await run_over(ScriptedBackend()).step("add", add, 1, 2, on_unknown="perhaps")


async def test_a_step_s_result_is_what_it_was_and_the_same_at_replay() -> None:
    def order(line: Line) -> dict[str, Any]:
        return {"lines": (line,), "colour": Colour.RED}

    backend = ScriptedBackend()
    line = Line("a", Decimal("1.5"), [Colour.GREEN])
    results = []
    for _ in range(2):
        results.append(await run_over(backend).step("order", order, line))
        backend.replay()
    assert results == [{"lines": [line], "colour": Colour.RED}] * 2
    assert repr(results[0]) == repr(results[1])
    assert backend.specs[0].request == backend.specs[1].request
    assert len(backend.journal) == 1


async def test_people_are_shown_the_arguments_without_their_types() -> None:
    backend = ScriptedBackend()
    run = run_over(backend)
    await run.step("order", lambda *_: None, Line("a", Decimal("1.5")), (1, b"x"))
    await run.step("sign in", lambda _: None, Hidden(shown="u"))
    typed, refused = backend.specs
    assert typed.input == [{"sku": "a", "price": "1.5", "colours": []}, [1, "eA=="]]
    assert typed.request[0]["$holdfast"] == "dataclass"
    assert (
        refused.input
        == refused.request
        == [{"$holdfast": "model", "type": "tests.unit.agent.recorded_types:Hidden", "value": {"shown": "u"}}]
    )


async def test_an_argument_that_cannot_be_recorded_fails_before_anything_is_done() -> None:
    backend = ScriptedBackend()
    with pytest.raises(AgentFailed) as caught:
        await run_over(backend).step("add", add, 1, {"to": {2}})
    assert caught.value.code == "not_json"
    assert "the arguments of step 'add'" in caught.value.message
    assert "$[1].to is of type set" in caught.value.message
    assert backend.specs == []


async def test_a_result_that_cannot_be_recorded_names_the_step_and_the_type() -> None:
    with pytest.raises(AgentFailed) as caught:
        await run_over(ScriptedBackend()).step("make", object)
    assert caught.value.code == "not_json"
    assert "the result of step 'make'" in caught.value.message
    assert "type object" in caught.value.message


async def test_a_plain_function_runs_in_a_thread_and_knows_its_step() -> None:
    backend = ScriptedBackend(tries=3)
    run = run_over(backend)

    def work() -> list[Any]:
        run.emit_text("from a thread")
        return [threading.current_thread() is threading.main_thread(), run.idempotency_key, run.tries]

    assert await run.step("work", work) == [False, f"{KEY}/1", 3]
    assert await run.step("work", work) == [False, f"{KEY}/2", 3]
    assert backend.events == [("text.delta", {"text": "from a thread"})] * 2


async def test_a_coroutine_function_runs_on_the_loop_however_it_is_made() -> None:
    run = run_over(ScriptedBackend())

    async def on_the_loop(n: int = 0) -> list[Any]:
        await asyncio.sleep(0)
        return [threading.current_thread() is threading.main_thread(), run.idempotency_key]

    class Tool:
        async def __call__(self) -> list[Any]:
            return await on_the_loop()

        async def method(self) -> list[Any]:
            return await on_the_loop()

    ways: list[Callable[..., Any]] = [
        on_the_loop,
        functools.partial(on_the_loop, 1),
        Tool(),
        Tool().method,
        lambda: on_the_loop(2),
    ]
    for n, way in enumerate(ways, start=1):
        assert await run.step("work", way) == [True, f"{KEY}/{n}"]


async def test_the_key_and_the_tries_belong_to_a_step() -> None:
    run = run_over(ScriptedBackend())
    with pytest.raises(RuntimeError, match=r"inside the function that run\.step calls"):
        _ = run.idempotency_key
    assert run.tries == 0


async def test_steps_side_by_side_each_know_their_own_key() -> None:
    run = run_over(ScriptedBackend())
    begun = asyncio.Barrier(3)

    async def key() -> str:
        await begun.wait()
        return run.idempotency_key

    assert sorted(await run.gather(*(run.step("key", key) for _ in range(3)))) == [f"{KEY}/{n}" for n in (1, 2, 3)]


async def test_a_failure_is_of_the_class_that_a_replay_raises() -> None:
    run = run_over(ScriptedBackend())

    def refuse() -> None:
        raise PermanentError("no such card", code="declined")

    async def call() -> None:
        raise RetryableError("busy")

    for step, code in ((run.step("charge", refuse), "declined"), (run.model("chat", {}, call), "step_error")):
        with pytest.raises(AgentFailed) as caught:
            await step
        assert (type(caught.value), caught.value.code) == (AgentFailed, code)


async def test_gather_gives_results_in_order_and_raises_the_first_branch_s_error_when_all_have_ended() -> None:
    run = run_over(ScriptedBackend())
    first_may_end = asyncio.Event()
    ended = []

    async def fails_late() -> None:
        await first_may_end.wait()
        ended.append("late")
        raise ValueError("first in order")

    async def fails_soon() -> None:
        first_may_end.set()
        ended.append("soon")
        raise KeyError("first in time")

    async def works() -> int:
        return 3

    assert await run.gather() == []
    assert await run.gather(works(), works()) == [3, 3]
    with pytest.raises(ValueError, match="first in order"):
        await run.gather(fails_late(), fails_soon(), works())
    assert ended == ["soon", "late"]
    first_may_end.clear()
    late, soon, three = await run.gather(fails_late(), fails_soon(), works(), return_exceptions=True)
    assert (type(late), type(soon), three) == (ValueError, KeyError, 3)


async def test_a_model_call_is_idempotent_and_tried_three_times_unless_told() -> None:
    backend = ScriptedBackend()
    run = run_over(backend)

    async def call() -> dict[str, str]:
        return {"text": "answer"}

    assert await run.model("chat", {"q": 1}, call) == {"text": "answer"}
    await run.model("chat", {}, call, retry=Retry(tries=7), timeout_s=60.0)
    usual, told = backend.specs
    assert (usual.kind, usual.name, usual.request, usual.idempotent) == ("model", "chat", {"q": 1}, True)
    assert (usual.retry.tries, usual.retry.on, usual.timeout_s) == (3, (), None)
    assert (told.retry.tries, told.timeout_s) == (7, 60.0)


async def test_a_model_s_request_and_answer_are_the_same_at_replay_to_the_order_of_their_keys() -> None:
    backend = ScriptedBackend()

    async def call() -> dict[str, Any]:
        return {"text": "answer", "b": 1, "aa": {"z": 1, "y": 2}}

    seen = []
    for request in ({"model": "m", "q": 1}, {"q": 1, "model": "m"}):
        seen.append(await run_over(backend).model("chat", request, call))
        backend.replay()
    assert repr(seen[0]) == repr(seen[1]) == "{'b': 1, 'aa': {'y': 2, 'z': 1}, 'text': 'answer'}"
    assert repr(backend.specs[0].request) == repr(backend.specs[1].request)


async def test_the_time_an_id_and_a_chance_are_the_same_at_each_replay() -> None:
    backend = ScriptedBackend()

    def values(run: Run) -> tuple[Any, ...]:
        return run.now(), run.uuid(), run.random(), run.now(), run.uuid(), run.random()

    first = values(run_over(backend))
    backend.replay()
    assert values(run_over(backend)) == first
    assert len(set(first)) == 6
    now, ident, chance = first[:3]
    assert now.utcoffset().total_seconds() == 0
    assert ident.version == 4
    assert 0 <= chance < 1
