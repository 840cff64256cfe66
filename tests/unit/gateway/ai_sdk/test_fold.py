"""The fold against Holdfast's own folding rule: whatever happened to a run, a client of the SDK ends with the same words."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from holdfast.runs import EventId, Fold
from holdfast.wire import events
from holdfast.wire.events import Event
from holdfast_gateway.protocols.ai_sdk import fold as ai_sdk
from holdfast_gateway.protocols.ai_sdk.streaming import DONE, Numbered
from tests.unit.gateway.ai_sdk.histories import History
from tests.unit.gateway.ai_sdk.sdk_message import SdkMessage

_OPEN = {"input-streaming", "input-available", "approval-requested", "streaming"}


@pytest.mark.parametrize("steps_max", [1, 2, 200])
@pytest.mark.parametrize("batch", range(4))
def test_f32_random_histories(monkeypatch: pytest.MonkeyPatch, batch: int, steps_max: int) -> None:
    monkeypatch.setattr(ai_sdk, "_STEPS_MAX", steps_max)
    for seed in range(batch * 100, batch * 100 + 100):
        history = History(Random(seed))
        native, folded, message = Fold(), ai_sdk.Fold("run"), SdkMessage()
        message.take(folded.begin())
        for event in history.run():
            native.apply(event.id, event.type, event.data)
            message.take(folded.apply(event))
            # what is left then is kept, and nothing else is there; a snapshot follows where the log was lost
            if event.type == "snapshot" or event.data.get("reason") == "owner_lost":
                assert message.text == native.text, (seed, event)
        message.take(folded.ended())
        assert message.text == native.text, seed
        assert not [part for part in message.parts if part.get("state") in _OPEN], seed
        assert {part["toolCallId"] for part in message.parts if part.get("output") == "done"} == history.made, seed
        assert message.finished, seed


def _event(event_id: str, event_type: str, **data: Any) -> Event:
    return Event(EventId.parse(event_id), event_type, data)


def _told(event_id: str, event_type: str, **data: Any) -> bytes:
    return events.frame(EventId.parse(event_id), event_type, data)


_Told = tuple[str, str, dict[str, Any]]
_ONE_STEP: list[_Told] = [
    ("1-1", "run.started", {}),
    ("1-2", "step.started", {"position": "0", "kind": "model", "name": "chat"}),
    ("1-3", "text.delta", {"position": "0", "text": "a "}),
    ("1-4", "text.delta", {"position": "0", "text": "b "}),
    ("1-5", "text.delta", {"position": "0", "text": "c "}),
]
_STEP: dict[str, Any] = {"position": "0", "kind": "model", "name": "chat", "status": "completed", "output": {}}
_ENDED: _Told = ("1-9", "run.completed", {"output": "x"})


def _stream(log: list[_Told], skip: int = 0) -> bytes:
    numbered = Numbered(ai_sdk.Fold("run"), skip)
    told = numbered.begin()
    for event_id, event_type, data in log:
        told += numbered.take(_told(event_id, event_type, **data))
    return told + numbered.end()


def _frames(stream: bytes) -> list[Any]:
    frames = stream.removesuffix(DONE).split(b"\n\n")[:-1]
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def test_a_stream_ends_with_finish_whatever_the_client_has() -> None:
    whole = _frames(_stream([*_ONE_STEP, _ENDED]))
    for skip in range(len(whole) + 3):
        assert _frames(_stream([*_ONE_STEP, _ENDED], skip)) == (whole[skip:] or whole[-1:])


def test_f33_comments_go_through_and_are_not_counted() -> None:
    numbered = Numbered(ai_sdk.Fold("run"))
    numbered.begin()
    assert numbered.take(events.KEEPALIVE) == events.KEEPALIVE
    assert numbered.take(events.KEEPALIVE + _told("1-1", "text.delta", position=None, text="a")).count(b"\n\n") == 3
    assert numbered.count == 4


def test_f41_a_log_that_was_lost_while_a_client_was_away() -> None:
    before = _frames(_stream(_ONE_STEP))[:-2]  # it was cut there
    snapshot = (
        "1-8",
        "snapshot",
        {"run": {"status": "completed"}, "steps": [{**_STEP, "text": "a b c d ", "last_event_id": "1-8"}]},
    )
    message = SdkMessage()
    message.take(before)
    message.take(_frames(_stream([snapshot, _ENDED], len(before))))
    assert (message.text, message.finished) == ("a b c d ", True)
    fresh = SdkMessage()
    fresh.take(_frames(_stream([snapshot, _ENDED])))
    assert fresh.text == "a b c d "


@pytest.mark.parametrize("takeover", [False, True])
def test_f41_a_log_that_was_lost_and_begins_again_with_its_owner_s_snapshot(takeover: bool) -> None:
    before = _frames(_stream(_ONE_STEP))[:-2]
    attempt = 1 + takeover
    resumed: list[_Told] = [("2-1", "run.resumed", {"reason": "log_lost", "keep_through": None})]
    partial = [] if takeover else [{"position": "0", "text": "a b c d "}]
    log: list[_Told] = [
        *(resumed if takeover else []),
        (f"{attempt}-7", "snapshot", {"run": {"status": "running"}, "steps": [], "partial": partial}),
        *([(f"{attempt}-8", "text.delta", {"position": "0", "text": "a b c d "})] if takeover else []),
        (f"{attempt}-9", "text.delta", {"position": "0", "text": "e "}),
        (f"{attempt}-10", "run.completed", {"output": "x"}),
    ]
    for seen in (before, _frames(_stream(log))[:-1]):  # of the log that was lost, or of this one
        for has in range(len(seen) + 1):
            message = SdkMessage()
            message.take(seen[:has])
            message.take(_frames(_stream(log, has)))
            assert (message.text, message.finished) == ("a b c d e ", True), has
    model = {"position": "1", "kind": "model", "name": "chat"}
    log[-1:] = [
        (f"{attempt}-10", "step.completed", {"position": "0", "kind": "model", "output": {}}),
        (f"{attempt}-11", "step.started", model),
        (f"{attempt}-12", "text.delta", {"position": "1", "text": "f "}),
        (f"{attempt}-13", "run.completed", {"output": "x"}),
    ]
    for seen in (before, _frames(_stream(log))[:-1]):
        for has in range(len(seen) + 1):
            message = SdkMessage()
            message.take(seen[:has])
            message.take(_frames(_stream(log, has)))
            assert message.finished
            assert message.text == "a b c d e f " or message.error is not None, has


def test_f41_a_lost_log_of_several_steps_is_an_error_and_never_wrong_words() -> None:
    steps = [
        {**_STEP, "text": "a b c ", "last_event_id": "1-6"},
        {**_STEP, "position": "1", "text": "d ", "last_event_id": "1-8"},
    ]
    stream = _frames(_stream([("1-8", "snapshot", {"run": {"status": "running"}, "steps": steps})], 6))
    assert [chunk["type"] for chunk in stream] == ["error", "finish"]
    assert "load the chat's messages again" in stream[0]["errorText"]


def test_a_live_client_is_mended_by_a_snapshot_without_seeing_anything_twice() -> None:
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    for event in _ONE_STEP:
        message.take(folded.apply(_event(*event[:2], **event[2])))
    message.take(folded.apply(_event("1-6", "step.completed", position="0", kind="model", output={})))
    message.take(folded.apply(_event("1-7", "step.started", position="1", kind="model", name="chat")))
    message.take(folded.apply(_event("1-8", "text.delta", position="1", text="lost ")))
    steps = [
        {**_STEP, "text": "a b c ", "last_event_id": "1-6"},
        {**_STEP, "position": "1", "text": "d ", "last_event_id": "1-12"},
    ]
    message.take(folded.apply(_event("1-12", "snapshot", run={"status": "running"}, steps=steps)))
    assert message.text == "a b c d "
    message.take(folded.apply(_event("1-13", "run.completed", output="x")))
    assert [part["type"] for part in message.parts] == ["step-start", "text", "step-start", "text"]


def test_two_snapshots_one_after_the_other() -> None:
    """The second draws again what the first has left in the open SDK step."""
    steps = [
        {**_STEP, "text": "a ", "last_event_id": "1-3"},
        {**_STEP, "position": "1", "text": "b ", "last_event_id": "1-6"},
    ]
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    for at in ("2-2", "3-2"):
        message.take(folded.apply(_event(at, "snapshot", run={"status": "running"}, steps=steps, partial=[])))
        assert message.text == "a b "


def test_a_question_that_was_told_before_a_crash_ends_nothing() -> None:
    asked = {"position": "1", "kind": "ask", "question_id": "q1", "question": {"type": "question", "text": "?"}}
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    message.take(folded.apply(_event("1-1", "run.started")))
    message.take(folded.apply(_event("1-2", "run.waiting", **asked)))
    assert folded.asked == {"q1"}
    message.take(folded.apply(_event("2-1", "run.resumed", reason="owner_lost", keep_through=None)))
    assert [part["type"] for part in message.parts] == ["step-start"]
    message.take(folded.apply(_event("2-2", "run.waiting", **asked)))
    message.take(folded.suspended())
    assert message.finished
    assert [part["type"] for part in message.parts] == ["step-start", "data-question", "tool-ask"]


def test_an_interruption_that_was_resumed_leaves_no_trace() -> None:
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    message.take(folded.apply(_event("1-1", "run.started")))
    message.take(folded.apply(_event("2-1", "run.interrupted", reason="owner_lost", keep_through=None)))
    message.take(folded.apply(_event("3-1", "run.resumed", reason="resumed", keep_through=None)))
    message.take(folded.apply(_event("3-2", "text.delta", position=None, text="on ")))
    message.take(folded.apply(_event("3-3", "run.completed", output=None)))
    assert [part["type"] for part in message.parts] == ["step-start", "text"]


def test_words_outside_of_steps_stand_where_the_step_that_finishes_next_has_them() -> None:
    log: list[_Told] = [
        ("1-1", "step.started", {"position": "0.0", "kind": "tool", "name": "a"}),
        ("1-2", "step.started", {"position": "0.1", "kind": "tool", "name": "b"}),
        ("1-3", "text.delta", {"position": "0.0", "text": "a1 "}),
        ("1-4", "text.delta", {"position": "0.1", "text": "b1 "}),
        ("1-5", "text.delta", {"position": None, "text": "x "}),
        ("1-6", "text.delta", {"position": "0.0", "text": "a2 "}),
        ("1-7", "text.delta", {"position": "0.1", "text": "b2 "}),
        ("1-8", "step.completed", {"position": "0.1", "kind": "tool", "output": 1}),
        ("1-9", "step.completed", {"position": "0.0", "kind": "tool", "output": 1}),
    ]
    native, message = Fold(), SdkMessage()
    for event_id, event_type, data in log:
        native.apply(EventId.parse(event_id), event_type, data)
    message.take(_frames(_stream([*log, _ENDED])))
    assert message.text == native.text == "b1 x b2 a1 a2 "


def test_a_tool_call_id_that_comes_again_is_another_part() -> None:
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    for turn in (0, 2):
        model, tool = str(turn), f"{turn + 1}.0"
        calls = {"tool_calls": [{"id": "call", "name": "t", "input": {"turn": turn}}]}
        steps: list[tuple[str, dict[str, Any]]] = [
            ("step.started", {"position": model, "kind": "model", "name": "chat"}),
            ("step.completed", {"position": model, "kind": "model", "output": calls}),
            ("step.started", {"position": tool, "kind": "tool", "name": "t", "call_id": "call"}),
            ("step.completed", {"position": tool, "kind": "tool", "output": turn}),
        ]
        for n, (kind, data) in enumerate(steps):
            message.take(folded.apply(_event(f"1-{turn * 10 + n + 1}", kind, **data)))
    tools = [part for part in message.parts if part["type"] == "tool-t"]
    assert [(tool["toolCallId"], tool["output"]) for tool in tools] == [("call", 0), ("call#2", 2)]


def _call(position: str, *call_ids: str) -> list[_Told]:
    """A model step that asks for calls; the ids of its events come with :func:`_numbered`."""
    calls = [{"id": call_id, "name": "t", "input": {}} for call_id in call_ids]
    return [
        ("", "step.started", {"position": position, "kind": "model", "name": "chat"}),
        ("", "step.completed", {"position": position, "kind": "model", "output": {"tool_calls": calls}}),
    ]


def _made(position: str, call_id: str) -> list[_Told]:
    return [
        ("", "step.started", {"position": position, "kind": "tool", "name": "t", "call_id": call_id}),
        ("", "step.completed", {"position": position, "kind": "tool", "output": "made"}),
    ]


def _numbered(attempt: int, events_of: list[_Told]) -> list[Event]:
    return [_event(f"{attempt}-{n}", kind, **data) for n, (_, kind, data) in enumerate(events_of, 1)]


def test_a_run_of_many_steps_has_several_sdk_steps() -> None:
    """Else all of them would be drawn again whenever something is dropped."""
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    for event in _numbered(1, [each for n in range(450) for each in _made(str(n), f"call-{n}")]):
        message.take(folded.apply(event))
    assert [part["type"] for part in message.parts].count("step-start") == 3
    assert {part["output"] for part in message.parts if part["type"] == "tool-t"} == {"made"}


def test_f41_a_call_that_was_made_stays_so_when_the_log_is_lost() -> None:
    folded, message = ai_sdk.Fold("run"), SdkMessage()
    message.take(folded.begin())
    log = _numbered(1, [*_call("0", "call"), *_made("1.0", "call"), *_call("2")])
    steps = [{"call_id": None, **event.data, "text": "", "last_event_id": str(event.id)} for event in log[1::2]]
    steps[1]["call_id"] = "call"
    log += _numbered(
        2,
        [
            ("", "run.resumed", {"reason": "log_lost", "keep_through": None}),
            ("", "snapshot", {"run": {"status": "running"}, "steps": steps, "partial": []}),
            ("", "run.completed", {"output": "x"}),
        ],
    )
    for event in log:
        message.take(folded.apply(event))
    (tool,) = [part for part in message.parts if part["type"] == "tool-t"]
    assert (tool["state"], tool["output"]) == ("output-available", "made")


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_f41_an_approval_that_took_longer_than_the_log_is_kept(decision: str) -> None:
    """The page has the call from before; the log begins with the snapshot of who goes on."""
    call: dict[str, Any] = {"type": "approval", "tool": "t", "call_id": "call", "arguments": {}}
    model, asks = (
        _call("0", "call", "other")[1][2],
        {"position": "2.0", "kind": "ask", "name": "approval", "input": call},
    )
    steps = [
        {**model, "text": "", "last_event_id": "1-9"},
        {**_made("1.0", "other")[1][2], "call_id": "other", "text": "", "last_event_id": "1-11"},
        {**asks, "output": {"decision": decision}, "text": "", "last_event_id": "1-13"},
    ]
    ended = {"position": "3.0", "error": {"code": "denied", "message": "no"}, "will_retry": False}
    log = _numbered(
        2,
        [
            ("", "run.resumed", {"reason": "log_lost", "keep_through": None}),
            ("", "snapshot", {"run": {"status": "running"}, "steps": steps, "partial": []}),
            _made("3.0", "call")[0],
            _made("3.0", "call")[1] if decision == "approve" else ("", "step.failed", ended),
            ("", "run.completed", {"output": "x"}),
        ],
    )
    for pictured_before in (False, True):  # a gateway may send the record's own picture first
        message, folded = SdkMessage(), ai_sdk.Fold("run", after=1)
        message.parts = [
            {"type": "tool-t", "toolCallId": "call", "state": "approval-responded", "approval": {"id": "q"}},
            {"type": "tool-t", "toolCallId": "other", "state": "output-available", "output": "made"},
        ]
        message.take(folded.begin())
        if pictured_before:
            message.take(folded.apply(_event("1-13", "snapshot", run={"status": "queued"}, steps=steps)))
        for event in log:
            message.take(folded.apply(event))
        states = [part["state"] for part in message.parts if part["type"] == "tool-t"]
        assert states == ["output-available" if decision == "approve" else "output-denied", "output-available"]


def test_f41_the_last_chunks_of_a_lost_log_are_those_of_its_picture() -> None:
    """Who asks for the last N has none of an earlier stream: what stands there now is exact."""
    steps = [
        {**_STEP, "text": "a ", "last_event_id": "1-6"},
        {**_STEP, "position": "1", "text": "b ", "last_event_id": "1-8"},
    ]
    log: list[_Told] = [("1-8", "snapshot", {"run": {"status": "completed"}, "steps": steps}), _ENDED]
    whole = _frames(_stream(log))
    for skip in range(len(whole)):
        numbered = Numbered(ai_sdk.Fold("run"), skip, of_before=False)
        told = numbered.begin() + b"".join(numbered.take(_told(*each[:2], **each[2])) for each in log)
        assert _frames(told + numbered.end()) == whole[skip:]
