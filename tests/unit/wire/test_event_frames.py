"""Events as bytes: what is written once is what every reader gets."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runs import EventId
from holdfast.wire.events import KEEPALIVE, Event, decode, frame, frame_id, frame_type, split

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_DATA = st.dictionaries(st.text(), _JSON, max_size=5)
_EVENTS = st.builds(
    Event,
    st.builds(EventId, st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1)),
    st.from_regex(r"[a-z]+(\.[a-z]+)?", fullmatch=True),
    _DATA,
)
# every line end that Python, a browser or Unicode knows, alone and doubled
_LINE_ENDS = ["\n", "\n\n", "\r", "\r\n\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\x00"]
_A_FRAME = "\n\nid: 9-9\nevent: x\ndata: {}\n\n"


def _frame(event: Event) -> bytes:
    return frame(event.id, event.type, event.data)


def _as_a_browser(stream: bytes) -> list[dict[str, str]]:
    """The event stream format of the HTML standard, from its text and not from the code: fields of each dispatched event."""
    events: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    for line in re.split(r"\r\n|\n|\r", stream.decode("utf-8")):
        if not line:
            events += [fields] if "data" in fields else []
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    return events


@given(_EVENTS)
def test_a_frame_holds_its_event(event: Event) -> None:
    written = _frame(event)
    assert decode(written) == event
    assert (frame_id(written), frame_type(written)) == (event.id, event.type)


@given(st.lists(_EVENTS, max_size=6))
def test_frames_joined_are_split_at_the_same_places(events: list[Event]) -> None:
    frames = [_frame(event) for event in events]
    assert list(split(b"".join(frames))) == frames


@given(st.lists(_EVENTS, max_size=4))
def test_a_browser_reads_the_same(events: list[Event]) -> None:
    seen = _as_a_browser(KEEPALIVE.join([b"", *map(_frame, events), b""]))
    assert [(each["id"], each["event"], json.loads(each["data"])) for each in seen] == [
        (str(event.id), event.type, event.data) for event in events
    ]


@pytest.mark.parametrize("said", [*_LINE_ENDS, _A_FRAME])
def test_a_line_end_in_a_text_is_no_line_end_of_the_stream(said: str) -> None:
    event = Event(EventId(1, 3), "text.delta", {"position": "0", "text": said, said: [said]})
    written = _frame(event)
    assert list(split(written)) == [written]
    assert decode(written) == event
    assert json.loads(_as_a_browser(written)[0]["data"]) == event.data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_becomes_null(value: float) -> None:
    """JSON.parse in a browser throws at NaN, and with it every viewer of the run."""
    written = frame(EventId(1, 1), "custom", {"data": {"loss": value}})
    assert decode(written).data == {"data": {"loss": None}}
    assert b"NaN" not in written
    assert b"Infinity" not in written


def test_an_unfinished_frame_at_the_end_is_not_a_frame() -> None:
    whole = frame(EventId(1, 1), "custom", {})
    assert list(split(whole + whole[:-1])) == [whole]
    assert list(split(b"")) == []


def test_the_bytes_are_these() -> None:
    """Stored in logs that outlive a release."""
    data: dict[str, Any] = {"position": "0", "text": "hé\n"}
    assert frame(EventId(1, 3), "text.delta", data) == (
        b'id: 1-3\nevent: text.delta\ndata: {"position":"0","text":"h\xc3\xa9\\n"}\n\n'
    )


@pytest.mark.parametrize(
    "junk", [b"", b": keepalive\n\n", b"event: x\ndata: {}\n\n", b"id: 1\nevent: x\ndata: {}\n\n", b"id: 1-1"]
)
def test_bytes_that_are_no_frame_are_refused(junk: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part is missing says so in its own words
        frame_id(junk)
