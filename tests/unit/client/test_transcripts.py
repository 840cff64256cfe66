"""Transcripts as they grow, and at the end: what the fold of all events says, at each of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from holdfast.wire.events import Event
from holdfast_client import EventId, Fold, Run, Transcript
from holdfast_client.transcript import Transcribing
from tests.unit.local.stub_gateway import Connection, StubGateway, deltas
from tests.unit.runs.scripted_run import ScriptedRun, scripted_runs

ASK = {"kind": "ask", "position": "4", "question_id": "q", "question": {"text": "Which?"}, "schema": {"type": "string"}}
SLEEP = {"kind": "sleep", "position": "5", "question_id": "s", "until": "2026-02-01T00:00:00+00:00"}


Told = tuple[str, str, dict[str, Any]]


def _after(*events: Told) -> Transcript:
    transcribing = Transcribing()
    for event_id, event_type, data in events:
        transcribing.take(Event(EventId.parse(event_id), event_type, data))
    return transcribing.transcript


@given(scripted_runs())
def test_a_transcript_is_the_fold_of_its_events_at_every_event(run: ScriptedRun) -> None:
    transcribing, fold = Transcribing(), Fold()
    for line in run.log:
        transcribing.take(Event(line.id, line.type, line.data))
        fold.apply(line.id, line.type, line.data)
        assert transcribing.transcript.text == fold.text
        assert transcribing.transcript.items == tuple(fold.items)


def test_the_text_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make it takes as long as the run is: at each of two thousand steps that is half a minute."""
    asked: list[int] = []

    def text(fold: Fold) -> str:
        asked.append(len(fold.items))
        return "text"

    monkeypatch.setattr(Fold, "text", property(text))
    steps: list[Told] = [(f"1-{n}", "step.started", {"position": str(n)}) for n in range(1, 9)]
    assert _after(*steps).text == "text"
    assert asked == [8]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (("0-1", "run.queued", {"position": 1}), "queued"),
        (("1-1", "run.started", {}), "running"),
        (("1-2", "run.waiting", ASK), "waiting"),
        (("2-1", "run.resumed", {"keep_through": None}), "running"),
        (("2-1", "run.cancelled", {}), "cancelled"),
        (("2-1", "snapshot", {"run": {"status": "waiting", "waiting": [ASK]}, "steps": []}), "waiting"),
    ],
)
def test_the_status_is_what_the_events_tell(event: Told, status: str) -> None:
    assert _after(event).status == status


def test_what_is_waited_for_is_known_until_it_is_over() -> None:
    asked: list[Told] = [("1-2", "run.waiting", ASK), ("1-3", "run.waiting", SLEEP)]
    transcript = _after(*asked)
    assert [wait.kind for wait in transcript.waiting] == ["ask", "sleep"]
    [question] = transcript.questions
    assert (question.question, question.answer_schema) == ({"text": "Which?"}, {"type": "string"})
    assert _after(*asked, ("2-1", "run.resumed", {"keep_through": "1-3"})).waiting == ()
    answered = _after(*asked, ("1-4", "step.completed", {"position": "4", "output": "red"}))
    assert [wait.kind for wait in answered.waiting] == ["sleep"]
    assert _after(*asked, ("2-1", "run.cancelled", {})).waiting == ()
    shown = {"run": {"status": "waiting", "waiting": [SLEEP]}, "steps": []}
    assert [wait.position for wait in _after(*asked, ("2-1", "snapshot", shown)).waiting] == ["5"]


def test_an_end_says_how() -> None:
    assert _after(("1-1", "run.completed", {"output": {"n": 1}})).output == {"n": 1}
    failed = _after(("1-1", "run.failed", {"error": {"code": "crash_loop", "message": "5 times"}}))
    assert failed.error is not None
    assert (failed.status, failed.error.code, failed.error.message) == ("failed", "crash_loop", "5 times")
    interrupted = _after(("1-1", "run.interrupted", {"reason": "owner_lost", "error": None}))
    assert interrupted.error is not None
    assert (interrupted.status, interrupted.error.code) == ("interrupted", "owner_lost")


async def test_a_run_s_transcript_grows_and_is_whole_at_the_end(stub: StubGateway, run: Run) -> None:
    lost = ("2-1", "run.resumed", {"keep_through": None})
    done = ("2-9", "run.completed", {"output": None})
    connections = [
        Connection([*deltas("half")], cut=True),
        Connection([lost, *deltas("wh", "ole", attempt=2, first=2), done]),
    ]
    stub.connections = list(connections)
    assert [transcript.text async for transcript in run.transcript(live=True)] == [
        "half", "", "wh", "whole", "whole",
    ]  # fmt: skip
    stub.connections = list(connections)
    transcript = await run.transcript()
    assert (transcript.text, transcript.status) == ("whole", "completed")
