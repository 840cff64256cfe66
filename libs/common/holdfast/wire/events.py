"""Events as bytes. An event is encoded once, by its writer, as the server-sent event that viewers receive.

One frame is ``id: 1-3``, ``event: text.delta``, ``data: {"position":"0","text":"hi"}`` and a blank line (JSON holds no raw line
end); a message of the event log is one or more frames. So a gateway filters by id and passes bytes on without reading them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from holdfast.runs import EventId

KEEPALIVE = b": keepalive\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, decoded."""

    id: EventId
    type: str
    data: Mapping[str, Any]


def frame(event_id: EventId, event_type: str, data: Mapping[str, Any]) -> bytes:
    """The bytes of one event. NaN and the infinities, which JSON does not have, become null, as browsers do it."""
    body = to_json(data, inf_nan_mode="null")
    return b"id: %d-%d\nevent: %s\ndata: %s\n\n" % (event_id.attempt, event_id.n, event_type.encode(), body)


def split(payload: bytes) -> Iterator[bytes]:
    """The frames of a message, each with its closing blank line."""
    start = 0
    while (end := payload.find(b"\n\n", start)) >= 0:
        yield payload[start : end + 2]
        start = end + 2


def frame_id(one_frame: bytes) -> EventId:
    """The id of a frame.

    Raises:
        ValueError: these bytes are not a frame.
    """
    if not one_frame.startswith(b"id: "):
        raise ValueError(f"not an event frame: {one_frame[:40]!r}")
    return EventId.parse(one_frame[4 : one_frame.index(b"\n")].decode())


def frame_type(one_frame: bytes) -> str:
    """The type of a frame, without reading its data."""
    start = one_frame.index(b"\nevent: ") + 8
    return one_frame[start : one_frame.index(b"\n", start)].decode()


def decode(one_frame: bytes) -> Event:
    """Read a frame whole."""
    return Event(
        frame_id(one_frame), frame_type(one_frame), from_json(one_frame[one_frame.index(b"\ndata: ") + 7 : -2])
    )
