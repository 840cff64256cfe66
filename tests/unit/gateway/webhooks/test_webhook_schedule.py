"""When a delivery is tried again, and when it is given up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_gateway.webhooks.schedule import DELAYS_S, WINDOW_S, again_in_s, retry_after_s

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def again(tries: int, tried_for_s: float = 0.0, **known: Any) -> float | None:
    return again_in_s(tries, tried_for_s, **({"status": 500, "retry_after_s": None, "dice": 0.0} | known))


def test_the_delays_are_the_specifications() -> None:
    assert [again(tries) for tries in range(1, 9)] == [5, 300, 1800, 7200, 18_000, 36_000, 36_000, 36_000]


def test_a_delay_is_longer_by_the_dice_and_never_shorter() -> None:
    assert [again(2, dice=dice) for dice in (0.0, 0.5, 1.0)] == [300, 330, 360]


def test_a_day_after_the_first_try_it_is_given_up_and_the_last_try_is_made_then() -> None:
    assert again(7, WINDOW_S - 3600) == 3600
    assert again(7, WINDOW_S - 1) == 5
    assert again(7, WINDOW_S) is None
    assert again(2, 10 * WINDOW_S) is None


def test_gone_is_given_up_at_once() -> None:
    assert again(1, status=410) is None
    assert [again(1, status=status) for status in (None, 302, 400, 404, 429, 503)] == [5] * 6


def test_a_receiver_may_ask_for_more_time_within_bounds() -> None:
    assert again(1, retry_after_s=60.0) == 60
    assert again(2, retry_after_s=60.0) == 300
    assert again(1, retry_after_s=1e9) == DELAYS_S[-1]
    assert again(1, WINDOW_S - 10, retry_after_s=60.0) == 10


@given(
    tries=st.integers(1, 1000),
    tried_for_s=st.floats(0, 3 * WINDOW_S),
    asked_s=st.none() | st.floats(0, 1e9),
    dice=st.floats(0, 1, exclude_max=True),
)
def test_no_try_is_at_once_and_none_is_begun_long_after_the_day(
    tries: int, tried_for_s: float, asked_s: float | None, dice: float
) -> None:
    delay_s = again(tries, tried_for_s, retry_after_s=asked_s, dice=dice)
    assert delay_s is None or 5 <= delay_s <= max(WINDOW_S - tried_for_s, 5)


def test_tries_of_a_receiver_that_never_answers_are_few() -> None:
    """Of one that fails at once each time: seven and a last one as the day ends."""
    passed_s, tries = 0.0, 1
    while (delay_s := again(tries, passed_s)) is not None:
        passed_s, tries = passed_s + delay_s, tries + 1
    assert (tries, passed_s) == (8, WINDOW_S)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("9" * 400, 999_999_999.0),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:01:00 -0000", 60.0),
        ("-5", None),
        ("soon", None),
        ("Thu, 01 Jan 2026 12:01:00 +" + "9" * 30, None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds
