"""Tables, ages and durations."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast_local.listing import age, between, duration, table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0ms"), (0.34, "340ms"), (3.14, "3.1s"), (47.2, "47s"), (60, "1m 0s"), (302, "5m 2s"),
        (3600 * 3 + 60 * 20 + 1, "3h 20m"), (86400 * 2 + 3600 * 4, "2d 4h"), (59.99, "1m 0s"), (9.99, "10s"), (0.9999, "1.0s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("2026-01-01T11:59:57Z", "3s ago"), ("2026-01-01T11:59:59.5+00:00", "now"), ("2026-01-01T12:00:09Z", "now"),
        ("2025-12-31T12:00:00Z", "1d 0h ago"), (None, None),
    ],
)  # fmt: skip
def test_ages(then: str | None, words: str | None) -> None:
    assert age(then, datetime(2026, 1, 1, 12, tzinfo=UTC)) == words


def test_how_long_something_took() -> None:
    assert between("2026-01-01T12:00:00Z", "2026-01-01T12:00:01.5Z") == "1.5s"
    assert between("2026-01-01T12:00:00Z", None) is None


def test_columns_are_aligned_and_safe_for_a_terminal() -> None:
    rows = [("a", None, 1), ("lon\x1b[31mger", "x\ny", 22)]
    assert table(("ONE", "TWO", "N"), rows, indent=" ") == [
        " ONE         TWO  N",
        " a           -    1",
        " lon[31mger  x y  22",
    ]
