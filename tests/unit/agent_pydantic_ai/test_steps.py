"""A pydantic_ai agent's work as steps: what is journalled, what is shown, what a replay does."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pydantic_ai
import pytest
from pydantic_ai import ModelRetry, NativeOutput, ToolOutput
from pydantic_ai.capabilities import ModelFallback
from pydantic_ai.exceptions import ModelHTTPError, UserError
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from holdfast.errors import AgentFailed
from holdfast_agent import Agent, OnUnknown, Retry, RetryableError, Run
from holdfast_agent import agent as holdfast_agent
from holdfast_agent.pydantic_ai import current_run, durable, run_agent, tool_step
from tests.unit.agent_pydantic_ai.memory_backend import RUN_ID, Record, attempt, chat
from tests.unit.agent_pydantic_ai.scripted_model import Script, call, results


def _three_sums() -> tuple[Agent, Script, list[tuple[int, int]]]:
    """An agent that adds three times side by side and then says so; what its tool was called with."""
    script = Script(
        [
            [
                "Let me see. ",
                call(0, "add", '{"a": 1, "b": 2}', "c1"),
                call(1, "add", '{"a": 3, "b": 4}', "c2"),
                call(2, "add", '{"a": 3, "b": 4}', "c3"),
            ],
            ["The sums ", "are there."],
        ]
    )
    agent = pydantic_ai.Agent(script.model())
    called: list[tuple[int, int]] = []

    @agent.tool_plain
    async def add(a: int, b: int) -> int:
        called.append((a, b))
        await asyncio.sleep(0)
        return a + b

    return durable(agent, "sums"), script, called


async def test_requests_and_calls_are_steps_and_the_words_are_shown_in_them() -> None:
    agent, _, called = _three_sums()
    record = Record()
    ended = await attempt(agent, record, chat("add"))
    assert ended.output == "The sums are there."
    assert called == [(1, 2), (3, 4), (3, 4)]
    assert [(position, row.spec.kind, row.spec.name) for position, row in record.rows.items()] == [
        ("0", "model", "chat"),
        ("1[c1]", "tool", "add"),
        ("1[c2]", "tool", "add"),
        ("1[c3]", "tool", "add"),
        ("2", "model", "chat"),
    ]
    assert [(kind, at) for kind, at, _ in ended.backend.events] == [
        ("text.delta", "0"),
        ("usage", "0"),
        ("text.delta", "2"),
        ("text.delta", "2"),
        ("usage", "2"),
    ]
    model, tool = record.rows["0"], record.rows["1[c1]"]
    assert model.output["tool_calls"][0] == {"id": "c1", "name": "add", "input": {"a": 1, "b": 2}}
    assert model.output["response"]["kind"] == "response"
    assert model.spec.idempotent
    assert (tool.spec.input, tool.output) == ({"a": 1, "b": 2}, 3)
    assert not tool.spec.idempotent
    assert tool.spec.on_unknown is None


async def test_a_replay_calls_nothing_that_is_finished_and_shows_nothing_again() -> None:
    agent, script, called = _three_sums()
    record = Record()
    first = await attempt(agent, record, chat("add"))
    again = await attempt(agent, record, chat("add"), number=2)
    assert again.output == first.output
    assert (again.backend.done, again.backend.events, again.backend.writes) == ([], [], 0)
    assert (len(called), len(script.asked)) == (3, 2)


async def test_f50_killed_at_every_write_it_goes_on_from_there_and_calls_no_finished_tool_again() -> None:
    agent, _, _ = _three_sums()
    writes = (await attempt(agent, Record(), chat("add"))).backend.writes
    assert writes == 10
    for kill_at in range(1, writes + 1):
        agent, script, called = _three_sums()
        record = Record()
        killed = await attempt(agent, record, chat("add"), kill_at=kill_at)
        assert killed.how == "killed"
        finished = {at for at, row in record.rows.items() if row.status == "completed"}
        in_flight = sum(row.status == "started" and row.tries > 0 for row in record.steps("tool"))
        before = len(called)
        done = await attempt(agent, record, chat("add"), number=2)
        assert done.output == "The sums are there.", kill_at
        assert all(record.rows[at].tries == 1 for at in finished), kill_at
        assert len(called) - before == 3 - sum(at.startswith("1[") for at in finished), kill_at
        assert len(called) <= 3 + in_flight, kill_at
        assert results(script.asked[-1]) == [("add", "success", 3), ("add", "success", 7), ("add", "success", 7)]


async def test_a_changed_agent_is_diverged_and_calls_nothing() -> None:
    agent, _, _ = _three_sums()
    record = Record()
    await attempt(agent, record, chat("add"), kill_at=8)
    script = Script([["something else"]])
    changed = durable(pydantic_ai.Agent(script.model(), instructions="Be brief."), "sums")
    with pytest.raises(AgentFailed) as failed:
        await attempt(changed, record, chat("add"), number=2)
    assert failed.value.code == "diverged"
    assert script.asked == []


async def test_instructions_that_tell_the_recorded_time_replay() -> None:
    script = Script([[call(0, "noop", "{}", "c1")], ["done"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.instructions
    def when() -> str:
        return f"It is {current_run().now().isoformat()}."

    @agent.tool_plain
    def noop() -> None: ...

    record = Record()
    wrapped = durable(agent, "timed")
    await attempt(wrapped, record, chat("now?"), kill_at=5)
    assert (await attempt(wrapped, record, chat("now?"), number=2)).output == "done"


async def test_what_a_tool_says_of_itself_is_how_its_steps_are_journalled() -> None:
    script = Script([[call(0, "careful", "{}", "c1"), call(1, "pure", "{}", "c2")], ["done"]])
    agent = pydantic_ai.Agent(script.model())
    keys: list[str] = []
    tries: list[int] = []

    @agent.tool_plain(
        metadata=tool_step(idempotent=True, on_unknown="fail", retry=Retry(tries=3, first_delay_s=0), timeout_s=7)
    )
    def careful() -> str:
        keys.append(current_run().idempotency_key)
        tries.append(current_run().tries)
        if len(keys) < 3:
            raise RetryableError("not yet")
        return "at last"

    @agent.tool_plain(metadata={"holdfast": False})
    def pure() -> str:
        return "no step"

    record = Record()
    await attempt(durable(agent, "x"), record, chat("go"))
    [row] = record.steps("tool")
    assert (row.spec.name, row.spec.idempotent, row.spec.on_unknown) == ("careful", True, OnUnknown.FAIL)
    assert (row.spec.timeout_s, row.tries, row.failures) == (7, 3, ["step_error", "step_error"])
    assert keys == [f"{RUN_ID}/1[c1]"] * 3
    assert tries == [1, 2, 3]
    assert results(script.asked[1]) == [("careful", "success", "at last"), ("pure", "success", "no step")]


def test_a_tool_that_misspells_what_it_says_is_told() -> None:
    with pytest.raises(ValueError, match="maybe"):
        tool_step(on_unknown="maybe")


async def test_a_retry_that_a_tool_asks_of_the_model_is_a_result() -> None:
    script = Script([[call(0, "look", '{"at": "x"}', "c1")], [call(0, "look", '{"at": "y"}', "c2")], ["found"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    def look(at: str) -> str:
        if at == "x":
            raise ModelRetry("look at y")
        return "here"

    wrapped, record = durable(agent, "x"), Record()
    assert (await attempt(wrapped, record, chat("look"))).output == "found"
    assert [(row.status, row.output) for row in record.steps("tool")] == [
        ("completed", {"$pydantic_ai": {"kind": "model_retry", "message": "look at y"}}),
        ("completed", "here"),
    ]
    assert (await attempt(wrapped, record, chat("look"), number=2)).backend.writes == 0


async def test_a_tool_that_fails_for_good_fails_the_run_and_no_replay_calls_it() -> None:
    script = Script([[call(0, "broken", "{}", "c1")], ["never"]])
    agent = pydantic_ai.Agent(script.model())
    called: list[int] = []

    @agent.tool_plain
    def broken() -> None:
        called.append(1)
        raise OSError("no such disk")

    record = Record()
    for number in (1, 2):
        with pytest.raises(AgentFailed, match="no such disk"):
            await attempt(durable(agent, "x"), record, chat("go"), number=number)
    assert called == [1]


async def test_a_result_that_cannot_be_journalled_says_so() -> None:
    script = Script([[call(0, "weird", "{}", "c1")], ["never"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    def weird() -> object:
        return object()

    with pytest.raises(AgentFailed, match="object") as failed:
        await attempt(durable(agent, "x"), Record(), chat("go"))
    assert failed.value.code == "not_json"


async def test_results_that_a_person_gives_are_the_tools() -> None:
    agent, script, _ = _three_sums()
    record = Record()
    await attempt(agent, record, chat("add"), kill_at=8)
    row = record.rows["1[c3]"]
    assert row.status == "started"
    row.status, row.output = "completed", {"answer": 42}
    await attempt(agent, record, chat("add"), number=2)
    assert results(script.asked[-1])[2] == ("add", "success", {"answer": 42})


@pytest.mark.parametrize(
    ("error", "code", "tries"),
    [
        (ModelHTTPError(503, "m", None), "model_unavailable", 3),
        (ModelHTTPError(429, "m", None), "model_unavailable", 3),
        (ModelHTTPError(408, "m", None), "model_unavailable", 3),
        (ModelHTTPError(409, "m", None), "model_unavailable", 3),
        (ModelHTTPError(400, "m", {"message": "bad words"}), "model_refused", 1),
        (ModelHTTPError(401, "m", None), "model_refused", 1),
    ],
)
async def test_f56_a_model_is_tried_again_within_its_step_as_often_as_that_helps(
    error: ModelHTTPError, code: str, tries: int
) -> None:
    script = Script([[error]])
    retry = Retry(tries=3, first_delay_s=0, on=())
    record = Record()
    with pytest.raises(AgentFailed) as failed:
        await attempt(durable(pydantic_ai.Agent(script.model()), "x", model_retry=retry), record, chat("go"))
    assert failed.value.code == code
    [row] = record.steps("model")
    assert (row.tries, row.failures) == (tries, [code] * tries)
    assert len(script.asked) == tries


async def test_an_agent_may_fall_back_to_another_model_and_a_replay_asks_neither() -> None:
    first, second = Script([[ModelHTTPError(503, "m", None)]]), Script([["from the other"]])
    other = second.model()
    agent = pydantic_ai.Agent(first.model(), capabilities=[ModelFallback(other)])
    wrapped = durable(agent, "x", models={"other": other}, model_retry=Retry(tries=2, first_delay_s=0, on=()))
    record = Record()
    for number in (1, 2):
        assert (await attempt(wrapped, record, chat("go"), number=number)).output == "from the other"
    assert [(row.status, row.tries) for row in record.steps("model")] == [("failed", 2), ("completed", 1)]
    assert (len(first.asked), len(second.asked)) == (2, 1)


async def test_tools_that_are_made_for_a_run_are_listed_and_called_in_steps() -> None:
    script = Script([[call(0, "greet", "{}", "c1")], ["done"]])
    agent = pydantic_ai.Agent(script.model(), deps_type=str)
    made: list[str] = []

    @agent.toolset(id="own")
    def own(ctx: pydantic_ai.RunContext[str]) -> pydantic_ai.FunctionToolset[str]:
        made.append(ctx.deps)

        def greet() -> str:
            return f"hello {ctx.deps}"

        return pydantic_ai.FunctionToolset([greet])

    record = Record()
    wrapped = durable(agent, "x", deps=lambda run: run.thread_id)
    await attempt(wrapped, record, chat("go"))
    assert results(script.asked[1]) == [("greet", "success", "hello thread")]
    assert [row.spec.kind for row in record.rows.values()] == ["tools", "model", "tool", "tools", "model"]
    made.clear()
    assert (await attempt(wrapped, record, chat("go"), number=2)).backend.writes == 0
    assert made == []


class Verdict(pydantic.BaseModel):
    """What an agent with a typed output says."""

    guilty: bool
    years: int


@pytest.mark.parametrize("output_type", [Verdict, ToolOutput(Verdict, name="verdict"), NativeOutput(Verdict)])
async def test_a_typed_output_is_json_and_is_shown(output_type: Any) -> None:
    if isinstance(output_type, NativeOutput):
        said: Any = '{"guilty": true, "years": 3}'
    else:
        said = call(0, getattr(output_type, "name", "final_result"), '{"guilty": true, "years": 3}', "c1")
    script = Script([[said]])
    record = Record()
    agent = durable(pydantic_ai.Agent(script.model(), output_type=output_type), "judge")
    ended = await attempt(agent, record, chat("guilty?"))
    assert ended.output == {"guilty": True, "years": 3}
    assert ended.backend.text == '{"guilty": true, "years": 3}'
    assert record.rows["0"].output["tool_calls"] == []
    assert list(record.rows) == ["0"]


async def test_output_validators_and_their_retries_replay() -> None:
    script = Script([["no"], ["yes"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.output_validator
    def only_yes(text: str) -> str:
        if text != "yes":
            raise ModelRetry("say yes")
        return text

    record = Record()
    assert (await attempt(durable(agent, "x"), record, chat("?"))).output == "yes"
    assert (await attempt(durable(agent, "x"), record, chat("?"), number=2)).backend.done == []


async def test_a_model_that_cannot_stream_is_shown_whole() -> None:
    record = Record()
    agent = durable(pydantic_ai.Agent(TestModel(custom_output_text="all at once")), "x", stream=False)
    ended = await attempt(agent, record, chat("go"))
    assert ended.backend.text == ended.output == "all at once"


async def test_several_agents_in_one_run_side_by_side() -> None:
    first, second = (Script([[call(0, "_noop", "{}", "c1")], [word]]) for word in ("one", "two"))
    agents = [pydantic_ai.Agent(script.model(), tools=[_noop]) for script in (first, second)]

    @holdfast_agent("both")
    async def both(run: Run) -> list[str]:
        done = await run.gather(*(run_agent(run, each, "go") for each in agents))
        last = await run_agent(run, agents[0], "and again")
        return [*(each.output for each in done), last.output]

    record = Record()
    assert (await attempt(both, record, {})).output == ["one", "two", "one"]
    assert len(record.rows) == 9
    again = await attempt(both, record, {}, number=2)
    assert (again.output, again.backend.writes) == (["one", "two", "one"], 0)


def _noop() -> str:
    """Does nothing."""
    return "done"


async def test_an_agent_called_by_a_tool_is_part_of_the_tools_step() -> None:
    inner = pydantic_ai.Agent(TestModel(custom_output_text="the inside"))
    script = Script([[call(0, "delegate", "{}", "c1")], ["done"]])
    outer = pydantic_ai.Agent(script.model())

    @outer.tool_plain
    async def delegate() -> str:
        return (await inner.run("go")).output

    record = Record()
    await attempt(durable(outer, "x"), record, chat("go"))
    assert [row.spec.kind for row in record.rows.values()] == ["model", "tool", "model"]
    assert record.rows["1[c1]"].output == "the inside"


async def test_validators_of_arguments_are_steps_that_may_be_repeated() -> None:
    checked: list[int] = []

    def check(_: pydantic_ai.RunContext[object], n: int) -> None:
        checked.append(n)
        if n > 3:
            raise ModelRetry("smaller")

    def small(n: int) -> int:
        """A small number."""
        return n

    script = Script([[call(0, "small", '{"n": 5}', "c1")], [call(0, "small", '{"n": 2}', "c2")], ["done"]])
    agent = pydantic_ai.Agent(script.model(), tools=[pydantic_ai.Tool(small, args_validator=check)])
    record = Record()
    for number in (1, 2):
        assert (await attempt(durable(agent, "x"), record, chat("go"), number=number)).output == "done"
    assert checked == [5, 2]
    assert [(row.spec.name, row.spec.idempotent) for row in record.steps("check")] == [("small", True)] * 2
    assert [row.output for row in record.steps("tool")] == [2]


async def test_deps_reach_the_tools() -> None:
    script = Script([[call(0, "who", "{}", "c1")], ["done"]])
    agent = pydantic_ai.Agent(script.model(), deps_type=str)

    @agent.tool
    def who(ctx: pydantic_ai.RunContext[str]) -> str:
        return ctx.deps

    wrapped = durable(agent, "x", deps=lambda run: f"for {run.thread_id}")
    await attempt(wrapped, Record(), chat("go"))
    assert results(script.asked[1]) == [("who", "success", "for thread")]


def test_a_wrapped_agent_has_a_name_a_version_and_a_schema() -> None:
    agent = pydantic_ai.Agent(TestModel(), name="given", description="Says things.\nMore.")
    wrapped = durable(agent)
    assert (wrapped.name, wrapped.description) == ("given", "Says things.")
    assert wrapped.version == durable(agent).version != durable(agent, version="7").version
    assert wrapped.input_schema["required"] == ["messages"]
    with pytest.raises(ValueError, match="no name"):
        durable(pydantic_ai.Agent(TestModel()))


async def test_current_run_is_for_runs() -> None:
    with pytest.raises(RuntimeError, match="no run here"):
        current_run()


async def test_toolsets_need_ids_and_say_so() -> None:
    agent = pydantic_ai.Agent(TestModel(), toolsets=[pydantic_ai.FunctionToolset([_noop])])
    with pytest.raises(UserError, match="unique `id`"):
        await attempt(durable(agent, "x"), Record(), chat("go"))


async def test_a_nul_in_a_models_words_or_arguments_is_mended() -> None:
    script = Script([["a\x00b", call(0, "say", '{"text": "x\\u0000y"}', "c1")], ["done"]])
    agent = pydantic_ai.Agent(script.model())

    @agent.tool_plain
    def say(text: str) -> str:
        return text

    record = Record()
    await attempt(durable(agent, "x"), record, chat("go"))
    assert record.rows["0"].output["response"]["parts"][0]["content"] == "a\ufffdb"
    assert record.rows["1[c1]"].output == "x\ufffdy"


async def test_a_whole_model_and_its_last_words() -> None:
    """A model that answers in one piece may give calls too."""

    def respond(messages: list[Any], _: AgentInfo) -> Any:
        if len(messages) == 1:
            return ModelResponse(parts=[ThinkingPart("hm"), ToolCallPart("_noop", {}, tool_call_id="c1")])
        return ModelResponse(parts=[TextPart("done")])

    record = Record()
    agent = pydantic_ai.Agent(FunctionModel(respond), tools=[_noop])
    ended = await attempt(durable(agent, "x", stream=False), record, chat("go"))
    assert ended.output == "done"
    assert ended.backend.events[0] == ("reasoning.delta", "0", {"text": "hm"})
