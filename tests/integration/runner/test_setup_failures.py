"""F16: whatever goes wrong in a run is a run that failed: recorded, told, and holding what was shown before."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast_agent.load import Loaded
from tests.integration.runner.scene import Scene, first, types
from tests.integration.runner.scripts import (
    Word,
    both,
    fail,
    fail_until,
    give,
    mark,
    marks,
    raise_error,
    say,
    show,
    step,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_f16_an_agent_that_raises_before_its_first_event(shared: Scene) -> None:
    row, log = await shared.whole(await shared.submit(raise_error("no such config")))
    assert row.error == {"code": "agent_error", "message": "RuntimeError: no such config"}
    assert types(log) == ["run.started", "run.failed"]
    assert first(log, "run.failed").data == {"error": row.error}


async def test_f16_what_was_shown_before_the_failure_is_kept(shared: Scene) -> None:
    run_id = await shared.submit(say("before "), step(say("within ")), say("after "), fail("odd"))
    row, _ = await shared.whole(run_id)
    assert row.error == {"code": "odd", "message": "as told: odd"}
    assert await shared.answer(run_id) == "before within after "
    [answer] = [message for message in await shared.messages(run_id) if message.role == "assistant"]
    assert answer.status == "failed"
    assert answer.parts[-1] == {"type": "error", **row.error}


@pytest.mark.parametrize(
    ("script", "code", "in_message"),
    [
        ([raise_error("exit")], "agent_error", "sys.exit(3)"),
        ([step(raise_error("exit"))], "step_error", "SystemExit"),
        ([step(raise_error("broken tool"))], "step_error", "RuntimeError: broken tool"),
        ([give("object")], "not_json", "the agent's output is not a JSON value"),
        ([give("nan")], "not_json", "NaN"),
        ([give("nul")], "not_json", "NUL"),
        ([give("surrogate")], "not_json", "the agent's output is not a JSON value"),
        ([give("large")], "too_large", "1048578 bytes; 1048576 are allowed"),
        ([step(give("object"))], "not_json", "the result of step 'step'"),
        ([step(give("nul"))], "not_json", "NUL"),
        ([step(give("large"))], "too_large", "the output of step 'step'"),
        ([show("huge")], "too_large", "an event custom has"),
        ([both(step(say("a")), step(say("b")))], "steps_overlap", "beside 'step': use run.gather"),
        ([step(step(say("a")), name="outer")], "steps_overlap", "within the work of a step"),
        ([raise_error("unholdable")], "agent_error", "RuntimeError: a\ufffdb\ufffda"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else None,
)
async def test_f16_every_kind_of_failure_is_recorded_and_told(
    shared: Scene, script: list[Word], code: str, in_message: str
) -> None:
    row, log = await shared.whole(await shared.submit(*script))
    assert row.error is not None
    assert (row.status, row.error["code"]) == ("failed", code)
    assert in_message in row.error["message"]
    assert len(row.error["message"]) <= 4000
    assert first(log, "run.failed").data == {"error": row.error}


async def test_f16_a_careless_agent_that_swallows_a_step_s_failure_goes_on(shared: Scene) -> None:
    row, _ = await shared.whole(await shared.submit(step(fail("odd")), agent="deaf"))
    assert (row.status, row.output) == ("completed", "AgentFailed")


async def test_f16_an_error_of_the_runner_itself_ends_the_run(shared: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("holdfast_runner.execution.RunBackend", broken)
    run_id = await shared.submit(say("never shown"))
    row = await shared.until(run_id, "failed")
    assert row.error == {
        "code": "internal_error",
        "message": "the runner could not run it: ZeroDivisionError: a bug",
    }
    assert row.terminal_event_id == "1-1"  # nothing was shown: whoever tails the run makes the event


async def test_f16_an_end_that_the_record_cannot_hold_is_a_failure(
    shared: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast_runner.stage.clean_text", lambda text: text)
    run_id = await shared.submit(say("nul"))
    row = await shared.until(run_id, "failed")
    assert row.error is not None
    assert row.error["code"] == "not_recordable"


async def test_text_that_the_record_cannot_hold_is_mended_where_it_is_shown(shared: Scene) -> None:
    run_id = await shared.submit(say("nul"), step(say("surrogate")), say("huge"))
    row, log = await shared.whole(run_id)
    assert row.status == "completed"
    assert await shared.answer(run_id) == "a\ufffdb" + "\ufffd" + "x" * (3 * 1024 * 1024)
    assert max(len(event.data["text"]) for event in log if event.type == "text.delta") == 64 * 1024


async def test_f16_a_run_that_shows_text_without_end_fails(shared: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast_runner.stage._SHOWN_CHARS_MAX", 10)
    row, _ = await shared.whole(await shared.submit(say("12345"), step(say("67890")), say("1")))
    assert row.error is not None
    assert row.error["code"] == "too_large"


async def test_a_step_s_name_is_mended_as_text_is(shared: Scene) -> None:
    run_id = await shared.submit(step(say("a"), name="unholdable"))
    await shared.whole(run_id)
    [recorded] = await shared.steps(run_id)
    assert recorded.name.startswith("a\ufffdb\ufffda")


async def test_a_step_returns_what_a_replay_would(shared: Scene) -> None:
    run_id = await shared.submit(step(give("tuple")))
    row, _ = await shared.whole(run_id)
    assert row.output == [1, {"2": "two"}]
    [recorded] = await shared.steps(run_id)
    assert recorded.output == row.output


async def test_retries_are_visible_as_events_and_in_the_journal(shared: Scene, tmp_path: Path) -> None:
    gate, tried = tmp_path / "gate", tmp_path / "tried"
    run_id = await shared.submit(step(say("try "), mark(tried), fail_until(gate), tries=20))
    await shared.until_event(run_id, "step.failed", count=2)
    gate.touch()
    row, log = await shared.whole(run_id)
    [recorded] = await shared.steps(run_id)
    starts = [event.data for event in log if event.type == "step.started"]
    failures = [event.data for event in log if event.type == "step.failed"]
    assert [each["try"] for each in starts] == list(range(1, recorded.tries + 1))
    assert marks(tried) == recorded.tries == len(failures) + 1
    assert all(each["will_retry"] and each["error"]["code"] == "model_unavailable" for each in failures)
    assert await shared.answer(run_id) == "try "
    assert row.status == "completed"


async def test_a_step_that_fails_for_good_says_so(shared: Scene, tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    run_id = await shared.submit(step(say("try "), mark(tried), fail_until(tmp_path / "never"), tries=3))
    row, log = await shared.whole(run_id)
    [recorded] = await shared.steps(run_id)
    assert row.error is not None
    assert row.error["code"] == "model_unavailable"
    assert [event.data["will_retry"] for event in log if event.type == "step.failed"] == [True, True, False]
    assert (recorded.status, recorded.tries, recorded.error, marks(tried)) == ("failed", 3, row.error, 3)
    assert await shared.answer(run_id) == "try "  # that of the last try, which nothing replaced


async def test_f08_a_module_that_cannot_be_imported_is_told_of_and_the_rest_runs(scene: Scene) -> None:
    def break_one(loaded: Loaded) -> None:
        loaded.failures["broken.py"] = "SyntaxError: invalid syntax"

    async with scene.here(agents=break_one, ready=False) as here:
        await scene.whole(await scene.submit(say("fine")))
        assert await here.runner.not_ready() == ["agents of broken.py: SyntaxError: invalid syntax"]
