"""Event logs of real runs, recorded once, and what the fold makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.runs import EventId
from holdfast.wire.events import Event
from holdfast_gateway.protocols.ai_sdk.fold import ALL, Fold
from holdfast_gateway.protocols.ai_sdk.message import Chunk

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(path.name.removesuffix(".events.json") for path in GOLDEN.glob("*.events.json"))
RUN_ID = "00000000-0000-4000-8000-000000000001"


def recorded(name: str) -> dict[str, Any]:
    """A log: ``events``, and the ``status`` and ``text`` that the record had in the end."""
    return dict(json.loads((GOLDEN / f"{name}.events.json").read_text()))


def events_of(log: dict[str, Any]) -> Iterator[Event]:
    """Its events."""
    for event_id, event_type, data in log["events"]:
        yield Event(EventId.parse(event_id), event_type, data)


def streams_of(log: dict[str, Any]) -> dict[str, list[Chunk]]:
    """Every stream that a client can have of a run: each segment (by the attempt that it follows), and all of them joined."""
    asking = {
        str(event.id.attempt)
        for event in events_of(log)
        if event.type == "run.waiting" and event.data["kind"] in ("ask", "unknown")
    }
    streams = {name: folded(log, name) for name in ["0", *sorted(asking), "joined"]}
    if not asking:
        assert streams.pop("joined") == streams["0"]
    return streams


def folded(log: dict[str, Any], name: str) -> list[Chunk]:
    """One stream, to its end."""
    fold = Fold(RUN_ID, through=ALL) if name == "joined" else Fold(RUN_ID, after=int(name))
    chunks = fold.begin()
    for event in events_of(log):
        chunks += fold.apply(event)
    return chunks + fold.ended()
