"""How measurements become figures: ratios by round, medians and spread, the rows of a comparison."""

from __future__ import annotations

import pytest

from bench.figures import Row, quantile, ratios, seconds, spread
from bench.runs.rows import FOLLOWED, OURS, latency_row, rows
from bench.runs.system import Taken

VERSIONS = {"procrastinate": "3.10.0", "DBOS": "3.4.0", "PgQueuer": "1.6.0"}


def turn(wall_s: float, *, submit_s: float | None = None, left: int = 0, **used: float) -> Taken:
    """1,000 jobs; ``used`` in microseconds of computing for each."""
    in_all = {part: us * 1000 / 1e6 for part, us in used.items()}
    return Taken(1000, wall_s, wall_s if submit_s is None else submit_s, left, in_all or {"Postgres": 0.1})


def compared(ours: list[Taken], **peers: list[Taken]) -> dict[str, Row]:
    """The rows of one worker each, by what they say."""
    of = {OURS: ours, FOLLOWED: ours, **dict.fromkeys(VERSIONS, ours), **peers}
    turns = {(1, system): taken for system, taken in of.items()} | {(2, OURS): []}
    return {row.what: row for row in rows(1, turns, VERSIONS)}


def test_a_ratio_is_of_the_two_in_one_round() -> None:
    assert ratios([100.0, 10.0], [50.0, 5.0]) == [2.0, 2.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([100.0], [50.0, 5.0])


def test_a_round_that_was_slow_for_both_does_not_move_the_ratio() -> None:
    beside = compared([turn(1.0), turn(10.0), turn(1.0)], DBOS=[turn(2.0), turn(20.0), turn(2.0)])
    row = beside["1 runner: runs/s ÷ jobs/s of DBOS"]
    assert row.figure.startswith("median 2, min 2, max 2 of 3; with each run's events read by a client median")
    assert "DBOS 3.4.0: median 500, min 50, max 500 of 3" in row.figure
    assert row.holds


@pytest.mark.parametrize("peer", ["procrastinate", "DBOS"])
def test_ahead_means_ahead_in_the_median_round(peer: str) -> None:
    what = f"1 runner: runs/s ÷ jobs/s of {peer}"
    behind = compared([turn(1.0)] * 3, **{peer: [turn(0.9), turn(0.9), turn(3.0)]})[what]
    ahead = compared([turn(1.0)] * 3, **{peer: [turn(1.1), turn(1.1), turn(0.3)]})[what]
    assert (behind.wanted, behind.holds, ahead.holds) == ("> 1", False, True)


def test_how_much_faster_the_lean_queue_is_and_where_our_time_goes_is_told() -> None:
    ours = [turn(2.0, gateway=1000.0, Postgres=500.0)]
    row = compared(ours, PgQueuer=[turn(0.1, workers=40.0, Postgres=60.0)])["1 runner: runs/s ÷ jobs/s of PgQueuer"]
    assert row.verdict(0.0) == "told"
    assert "20 times as fast" in row.figure
    assert "a run takes 1,500 µs of computing (gateway 1,000, Postgres 500), a job of its 100 µs" in row.figure


def test_the_picture_has_ours_first_and_each_peer() -> None:
    bars = compared([turn(1.0)])["1 runner: no-op runs, submit to durable end"].bars
    assert [label for label, _ in bars] == [OURS, FOLLOWED, *VERSIONS]
    assert bars[0][1] == 1000.0


def test_draining_is_told_only_where_enough_was_left_to_tell() -> None:
    assert turn(3.0, submit_s=1.0, left=800).drain_rate == pytest.approx(400.0)
    assert turn(3.0, submit_s=2.9, left=20).drain_rate is None


def test_times_hold_by_median_and_worst() -> None:
    assert seconds("x", [1.0, 1.0, 3.0], median_max=2.0, worst_max=4.0).holds
    assert not seconds("x", [1.0, 1.0, 5.0], median_max=2.0, worst_max=4.0).holds
    assert not seconds("x", [1.0, 3.0, 3.0], median_max=2.0, worst_max=4.0).holds


def test_latency_holds_by_median_and_p99() -> None:
    quick = [5.0] * 198
    assert latency_row("x", [*quick, 29.0, 99.0], wanted=True).holds
    assert not latency_row("x", [*quick, 31.0, 99.0], wanted=True).holds
    assert not latency_row("x", [11.0] * 200, wanted=True).holds
    assert latency_row("x", [11.0] * 200, wanted=False).wanted == "told"


def test_spread_and_quantile() -> None:
    assert spread([3.0, 1.0, 2.0], ".1f") == "median 2.0, min 1.0, max 3.0 of 3"
    assert [quantile(range(1, 101), share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 51, 100, 100]
