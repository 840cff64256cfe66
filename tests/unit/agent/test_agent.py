"""What an agent's author works with: the decorator, the run, retries."""

from __future__ import annotations

import pytest

from holdfast_agent import (
    Agent,
    AgentFailed,
    ChildFailedError,
    NeedsPersonError,
    OnUnknown,
    PermanentError,
    Retry,
    RetryableError,
    Run,
    Said,
    agent,
)
from holdfast_agent.builtin.chat_input import content_text, last_user_text
from holdfast_agent.failures import FailureClass, classify
from holdfast_agent.retry import ONCE
from tests.unit.agent.scripted_backend import ScriptedBackend, run_over


def test_the_decorator_makes_an_agent_and_registers_nothing() -> None:
    @agent("a.b-c_1", input_schema={"type": "object"})
    async def made(run: Run) -> None:
        """First line.

        More.
        """

    assert isinstance(made, Agent)
    assert (made.name, made.description, made.input_schema) == ("a.b-c_1", "First line.", {"type": "object"})
    assert len(made.version) == 12


def test_what_is_said_wins_over_what_is_found() -> None:
    @agent("x", description="said", version="v7")
    async def made(run: Run) -> None:
        """Found."""

    assert (made.description, made.version) == ("said", "v7")


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a/b"])
def test_a_name_that_is_not_usable_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not usable"):
        agent(name)


def test_a_function_that_is_not_async_is_refused() -> None:
    def sync(run: Run) -> None: ...

    with pytest.raises(TypeError, match="not an async function"):
        agent("x")(sync)  # type: ignore[arg-type]  # what the test is about


def test_what_a_run_shows() -> None:
    backend = ScriptedBackend()
    run = run_over(backend)
    run.emit_text("a")
    run.emit_text("")
    run.emit_reasoning("b")
    run.emit_reasoning("")
    run.emit_usage(input_tokens=1, output_tokens=2)
    run.emit("mine", [1])
    assert backend.events == [
        ("text.delta", {"text": "a"}),
        ("reasoning.delta", {"text": "b"}),
        ("usage", {"input_tokens": 1, "output_tokens": 2}),
        ("custom", {"name": "mine", "data": [1]}),
    ]


def test_the_pause_between_tries_grows_to_its_bound() -> None:
    retry = Retry(first_delay_s=0.1, delay_s_max=1.0)
    delays = [retry.delay_s(failures) for failures in range(1, 10)]
    for failures, delay_s in enumerate(delays, start=1):
        exact = min(0.1 * 2 ** (failures - 1), 1.0)
        assert exact <= delay_s <= exact + 0.1


@pytest.mark.parametrize(
    ("error", "retry", "of"),
    [
        (RetryableError("busy"), ONCE, FailureClass.RETRYABLE),
        (PermanentError("no"), Retry(), FailureClass.PERMANENT),
        (NeedsPersonError("look"), Retry(), FailureClass.NEEDS_PERSON),
        (AgentFailed("x", "y", retryable=True), Retry(on=()), FailureClass.RETRYABLE),
        (AgentFailed("x", "y"), Retry(), FailureClass.PERMANENT),
        (ChildFailedError("it failed", run_id="r", status="failed"), Retry(), FailureClass.PERMANENT),
        (ValueError(), Retry(), FailureClass.RETRYABLE),
        (ValueError(), Retry(on=(OSError,)), FailureClass.PERMANENT),
        (TimeoutError(), Retry(on=(OSError,)), FailureClass.RETRYABLE),
        (ValueError(), Retry(on=()), FailureClass.PERMANENT),
        (KeyboardInterrupt(), Retry(), FailureClass.PERMANENT),
    ],
)
def test_an_error_is_of_one_class(error: BaseException, retry: Retry, of: FailureClass) -> None:
    assert classify(error, retry) is of


def test_an_agent_may_say_what_becomes_of_its_unknown_steps() -> None:
    async def work(run: Run) -> None: ...

    assert agent("x", on_unknown="fail")(work).on_unknown is OnUnknown.FAIL
    assert agent("x")(work).on_unknown is None
    with pytest.raises(ValueError, match="perhaps"):
        agent("x", on_unknown="perhaps")(work)


def test_the_text_of_a_message_is_its_text_parts() -> None:
    assert Said("user", [{"type": "text", "text": "a"}, {"type": "error", "text": "no"}, {"type": "text"}]).text == "a"
    assert content_text("a") == "a"
    assert content_text([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]) == "ab"


def test_the_last_word_of_the_user() -> None:
    said = [{"role": "user", "content": "first"}, {"role": "user", "content": "last"}, {"role": "assistant"}]
    assert last_user_text({"messages": said}) == "last"
    assert last_user_text({"messages": said[2:]}) == ""
