"""Whose the machine's time was: what descends from the bench is ours, as it lives, ends or is killed."""

from __future__ import annotations

import pytest

from bench.others import Look, Watch, by_others

BENCH, CHILD, GRANDCHILD = 1, 2, 3


def seen(at: float, busy_s: float, **ours: tuple[float, float]) -> Look:
    """Pids by name, each with its own time and that of its ended children."""
    pids = {"bench": BENCH, "child": CHILD, "grandchild": GRANDCHILD}
    return Look(at, busy_s, {pids[name]: used for name, used in ours.items()})


def test_what_is_busy_and_not_ours_is_others() -> None:
    before = seen(0.0, 100.0, bench=(5.0, 0.0), child=(1.0, 0.0))
    after = seen(10.0, 110.0, bench=(6.0, 0.0), child=(5.0, 0.0))
    assert by_others(before, after, cores=2) == pytest.approx(5.0 / 20)


def test_a_new_child_is_ours_from_its_start() -> None:
    after = seen(10.0, 10.0, bench=(1.0, 0.0), child=(9.0, 0.0))
    assert by_others(seen(0.0, 0.0, bench=(0.0, 0.0)), after, cores=2) == 0.0


def test_what_an_ended_child_used_since_the_last_look_is_ours_too() -> None:
    before = seen(0.0, 0.0, bench=(0.0, 0.0), child=(3.0, 0.0))
    after = seen(10.0, 5.0, bench=(1.0, 7.0))  # the child used 4 s more, then it was waited for
    assert by_others(before, after, cores=2) == 0.0


def test_a_server_killed_with_its_children_does_not_make_others_of_what_it_had_used() -> None:
    before = seen(0.0, 100.0, bench=(1.0, 0.0), child=(1.0, 0.0), grandchild=(60.0, 0.0))
    after = seen(10.0, 102.0, bench=(3.0, 1.0))  # nobody has waited for the grandchild
    assert by_others(before, after, cores=2) == 0.0


def test_it_is_a_share_of_all_cores_between_none_and_all() -> None:
    before = seen(0.0, 0.0, bench=(0.0, 0.0))
    assert by_others(before, seen(10.0, 25.0, bench=(0.0, 0.0)), cores=2) == 1.0
    assert by_others(before, seen(10.0, 1.0, bench=(2.0, 0.0)), cores=2) == 0.0


def test_a_watch_tells_a_share() -> None:
    with Watch() as watch:
        pass
    assert 0.0 <= watch.share <= 1.0
