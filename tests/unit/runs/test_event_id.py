"""Event ids: text and back, and the order of the log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runs import EventId

_IDS = st.builds(EventId, st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1))


@given(_IDS)
def test_text_and_back(event_id: EventId) -> None:
    assert EventId.parse(str(event_id)) == event_id


@given(_IDS, _IDS)
def test_order_is_attempt_then_number_and_not_that_of_the_text(one: EventId, other: EventId) -> None:
    assert (one < other) == ((one.attempt, one.n) < (other.attempt, other.n))
    assert EventId.parse("2-3") < EventId.parse("10-1") < EventId.parse("10-2") < EventId.parse("10-11")


@given(_IDS)
def test_next_is_the_nearest_above_within_the_attempt(event_id: EventId) -> None:
    assert event_id < event_id.next() <= EventId(event_id.attempt, event_id.n + 1)
    assert event_id.next() < EventId(event_id.attempt + 1, 1)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1-", "-1", "1-0", "01-1", "1-01", "+1-1", "1-1 ", " 1-1", "1-1\n", "1--1", "1-1-1"),
        *("a-b", "1.0-1", "\uff11-1", "0x1-1"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an event id"):
        EventId.parse(text)


@given(st.text(max_size=24))
def test_what_parses_is_the_text_of_an_id(text: str) -> None:
    try:
        event_id = EventId.parse(text)
    except ValueError:
        return
    assert str(event_id) == text
