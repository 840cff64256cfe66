"""Recorded logs of real runs, folded: the chunks are those of the golden files, and a client ends with what the record holds."""

from __future__ import annotations

import json
import os

import pytest

from holdfast.wire import events as wire
from holdfast_gateway.protocols.ai_sdk.fold import Fold
from holdfast_gateway.protocols.ai_sdk.streaming import Numbered
from tests.unit.gateway.ai_sdk.logs import GOLDEN, NAMES, RUN_ID, events_of, recorded, streams_of
from tests.unit.gateway.ai_sdk.sdk_message import SdkMessage

_WRITE = bool(os.environ.get("HOLDFAST_WRITE_GOLDEN"))  # then read the difference before it is committed


@pytest.mark.parametrize("name", NAMES)
def test_the_chunks_of_a_log(name: str) -> None:
    streams = streams_of(recorded(name))
    path = GOLDEN / f"{name}.chunks.json"
    if _WRITE:
        shown = [f'"{key}": [\n  ' + ",\n  ".join(map(json.dumps, chunks)) + "\n]" for key, chunks in streams.items()]
        path.write_text("{" + ",\n".join(shown) + "}\n")
    assert streams == json.loads(path.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_client_ends_with_what_the_record_holds(name: str) -> None:
    log = recorded(name)
    streams = streams_of(log)
    whole, by_segments = SdkMessage(), SdkMessage()
    whole.take(streams.pop("joined", streams["0"]))
    for chunks in streams.values():
        by_segments.finished = False
        by_segments.take(chunks)
    assert whole.text == by_segments.text == log["text"]
    assert whole.finished
    assert by_segments.finished
    assert (whole.error is not None) == (log["status"] == "failed")
    open_states = {"input-streaming", "input-available", "approval-requested", "approval-responded"}
    assert not [part for part in whole.parts if part.get("state") in open_states | {"streaming"}]


@pytest.mark.parametrize("name", NAMES)
def test_who_is_there_when_a_run_comes_to_rest_has_the_chunks_of_who_comes_later(name: str) -> None:
    log = recorded(name)
    events = list(events_of(log))
    for segment, later in streams_of(log).items():
        if segment == "joined":
            continue
        fold = Fold(RUN_ID, after=int(segment))
        chunks = fold.begin()
        for event, following in zip(events, [*events[1:], None], strict=True):
            chunks += fold.apply(event)
            if fold.asked and event.id.attempt > int(segment) and (following is None or following.id.n == 1):
                chunks += fold.suspended()
        assert chunks + fold.ended() == later


@pytest.mark.parametrize("name", NAMES)
def test_a_log_gives_the_same_however_it_is_cut_into_messages(name: str) -> None:
    frames = [wire.frame(event.id, event.type, event.data) for event in events_of(recorded(name))]
    streams = set()
    for size in (1, 2, 5, len(frames)):
        numbered = Numbered(Fold(RUN_ID))
        told = numbered.begin()
        for start in range(0, len(frames), size):
            message = b"".join(frames[start : start + size])
            told += numbered.take(message) if not numbered.fold.over else b""
        streams.add(told + numbered.end())
    assert len(streams) == 1
