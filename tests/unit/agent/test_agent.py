"""What an agent's author works with: the decorator, the run, retries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from holdfast_agent import Agent, Retry, Run, Said, agent
from holdfast_agent.builtin.assistant import _messages
from holdfast_agent.builtin.chat_input import content_text, last_user_text


class Recorded:
    """A backend that only takes notes."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.retries: list[Retry] = []

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        self.events.append((event_type, data))

    async def step(self, kind: str, name: str, request: Any, work: Callable[[], Awaitable[Any]], retry: Retry) -> Any:
        self.retries.append(retry)
        return (kind, name, request, await work())

    async def history(self, limit: int) -> Sequence[Said]:
        return [Said("user", [{"type": "text", "text": f"limit {limit}"}])]


@pytest.fixture
def backend() -> Recorded:
    """Notes."""
    return Recorded()


@pytest.fixture
def run(backend: Recorded) -> Run:
    """A run over notes."""
    return Run(UUID(int=1), "thread", "agent", 1, {}, {}, backend)


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


def test_what_a_run_shows(run: Run, backend: Recorded) -> None:
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


async def test_a_model_call_is_a_step_with_three_tries_unless_told(run: Run, backend: Recorded) -> None:
    async def call() -> str:
        return "answer"

    assert await run.model("chat", {"q": 1}, call) == ("model", "chat", {"q": 1}, "answer")
    await run.model("chat", {}, call, retry=Retry(tries=7))
    assert [retry.tries for retry in backend.retries] == [3, 7]


async def test_history_has_a_bound(run: Run) -> None:
    assert [said.text for said in await run.history()] == ["limit 200"]


def test_the_pause_between_tries_grows_to_its_bound() -> None:
    retry = Retry(first_delay_s=0.1, delay_s_max=1.0)
    delays = [retry.delay_s(failures) for failures in range(1, 10)]
    for failures, delay_s in enumerate(delays, start=1):
        exact = min(0.1 * 2 ** (failures - 1), 1.0)
        assert exact <= delay_s <= exact + 0.1


def test_the_text_of_a_message_is_its_text_parts() -> None:
    assert Said("user", [{"type": "text", "text": "a"}, {"type": "error", "text": "no"}, {"type": "text"}]).text == "a"
    assert content_text("a") == "a"
    assert content_text([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]) == "ab"


def test_the_last_word_of_the_user() -> None:
    said = [{"role": "user", "content": "first"}, {"role": "user", "content": "last"}, {"role": "assistant"}]
    assert last_user_text({"messages": said}) == "last"
    assert last_user_text({"messages": said[2:]}) == ""


def test_a_provider_is_sent_the_thread_and_then_the_question() -> None:
    history = [
        Said("user", [{"type": "text", "text": "hi"}]),
        Said("assistant", [{"type": "text", "text": "half an ans"}], "incomplete"),
        Said("assistant", [{"type": "error", "code": "x"}], "failed"),
        Said("tool", [{"type": "text", "text": "no call of it is there"}]),
    ]
    assert _messages(history, [{"role": "user", "content": "and?"}]) == [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "half an ans"},
        {"role": "user", "content": "and?"},
    ]
