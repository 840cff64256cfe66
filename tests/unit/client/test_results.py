"""``run.result()``: a run's output, or an error that says why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_client import Run, RunCancelled, RunFailed, RunInterrupted, RunWaiting
from tests.unit.local.stub_gateway import RUN_ID, Connection, Event, StubGateway, deltas, run_shown

RUN = f"GET /v1/runs/{RUN_ID}"
ASK = {
    "kind": "ask",
    "position": "4",
    "question_id": "q",
    "question": {"text": "Which?"},
    "schema": None,
    "since": None,
}
SLEEP = {"kind": "sleep", "position": "5", "question_id": "s", "until": "2026-02-01T00:00:00Z"}
RUNNING, WAITING = run_shown(status="running", attempt=1), run_shown(status="waiting", attempt=1, waiting=[SLEEP, ASK])
DONE = ("1-9", "run.completed", {"output": None})


async def test_the_output_of_a_run_that_has_ended_needs_no_stream(stub: StubGateway, run: Run) -> None:
    stub.answers = {RUN: run_shown(output={"n": 1})}
    assert await run.result() == {"n": 1}
    assert stub.cursors == []


async def test_the_record_says_what_came_of_a_run_that_was_followed(stub: StubGateway, run: Run) -> None:
    stub.answers = {RUN: [RUNNING, run_shown(output={"n": 2})]}
    stub.connections = [Connection([*deltas("a"), DONE])]
    assert await run.result(5) == {"n": 2}


async def test_a_run_that_was_interrupted_and_went_on_is_waited_for(stub: StubGateway, run: Run) -> None:
    stub.answers = {RUN: [RUNNING, RUNNING, run_shown(output={"n": 3})]}
    stub.connections = [Connection([("1-2", "run.interrupted", {"reason": "owner_lost"})]), Connection([DONE])]
    assert await run.result(5) == {"n": 3}
    assert stub.cursors == [None, "1-2"]


@pytest.mark.parametrize(
    ("status", "error", "raised", "words"),
    [
        ("failed", {"code": "stalled", "message": "no progress"}, RunFailed, "has failed: stalled: no progress"),
        ("cancelled", None, RunCancelled, "was cancelled$"),
        ("interrupted", {"code": "diverged", "message": "step 3"}, RunInterrupted, "is interrupted: diverged: step 3"),
    ],
)
async def test_what_is_no_output_is_an_error(
    stub: StubGateway, run: Run, status: str, error: Any, raised: type[RunFailed], words: str
) -> None:
    stub.answers = {RUN: run_shown(status=status, error=error)}
    with pytest.raises(raised, match=words) as told:
        await run.result()
    assert (told.value.code, told.value.run_id) == ((error or {}).get("code", ""), RUN_ID)


async def test_the_time_may_be_up_while_a_run_waits(stub: StubGateway, run: Run) -> None:
    stub.answers = {RUN: WAITING}
    stub.connections = [Connection([("1-2", "run.waiting", ASK)], stays=True)]
    with pytest.raises(TimeoutError):
        await run.result(0.1)
    assert stub.cursors == [None]


async def test_a_question_is_an_error_for_those_who_want_that(stub: StubGateway, run: Run) -> None:
    """It is seen a moment before the record has it; a timer is none."""
    stub.answers = {RUN: [RUNNING, run_shown(status="waiting", attempt=1, waiting=[SLEEP]), RUNNING, WAITING]}
    events: list[Event] = [("1-2", "run.waiting", SLEEP), ("1-3", "run.waiting", ASK)]
    stub.connections = [Connection(events, stays=True)]
    with pytest.raises(RunWaiting, match=r"waits for 1 answer$") as waiting:
        await run.result(5, raise_on_waiting=True)
    assert [question.question_id for question in waiting.value.questions] == ["q"]
    stub.answers = {RUN: WAITING}
    with pytest.raises(RunWaiting):
        await run.result(5, raise_on_waiting=True)


async def test_a_question_that_was_answered_long_ago_is_none(stub: StubGateway, run: Run) -> None:
    stub.answers = {RUN: [run_shown(status="running", attempt=2)] * 2 + [run_shown(output="red")]}
    stub.connections = [
        Connection([("1-2", "run.waiting", ASK), ("2-1", "run.resumed", {"keep_through": "1-2"}), ("2-9", *DONE[1:])])
    ]
    assert await run.result(5, raise_on_waiting=True) == "red"
