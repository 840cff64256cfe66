"""What the feed tells of pods, look by look."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from holdfast.bus.heartbeats import Beat
from holdfast.wire.messages import Heartbeat
from holdfast_gateway.feed.roster import Changed, Gone, Roster

_WRITTEN_AT = "2026-11-20T10:00:00Z"


def _beat(pod: str, boot: int = 1, **changes: Any) -> Beat:
    life = {"pid": 7, "host": "h", "started_at": _WRITTEN_AT, "version": "1", "slots": 4}
    return Beat(pod, 1, Heartbeat(pod=pod, boot=UUID(int=boot), **(life | changes)), _WRITTEN_AT)


def _news(roster: Roster, *beats: Beat) -> list[tuple[str, str, int]]:
    """(what, pod, boot) of each."""
    return [
        ("gone", each.pod, each.boot.int)
        if isinstance(each, Gone)
        else ("is", each.heartbeat.pod, each.heartbeat.boot.int)
        for each in roster.update(beats)
    ]


def test_the_first_look_shows_all_and_a_life_sign_alone_is_no_news() -> None:
    roster = Roster()
    known = [roster.known]
    assert _news(roster, _beat("b"), _beat("a")) == [("is", "a", 1), ("is", "b", 1)]
    assert [*known, roster.known] == [False, True]
    assert _news(roster, _beat("a"), _beat("b")) == []


def test_what_a_heartbeat_says_anew_is_news() -> None:
    roster = Roster()
    roster.update([_beat("a"), _beat("b")])
    assert _news(roster, _beat("a", running=2), _beat("b", draining=True)) == [("is", "a", 1), ("is", "b", 1)]
    assert [pod.running for pod in roster.shown(operator=False)] == [2, 0]


def test_one_look_without_a_pod_is_not_its_end_and_two_are() -> None:
    roster = Roster()
    roster.update([_beat("a"), _beat("b")])
    assert _news(roster, _beat("b")) == []
    assert _news(roster, _beat("a"), _beat("b")) == []
    assert _news(roster, _beat("b")) == []
    assert _news(roster, _beat("b")) == [("gone", "a", 1)]
    assert [pod.pod for pod in roster.shown(operator=False)] == ["b"]
    assert _news(roster, _beat("b")) == []


def test_a_goodbye_is_an_end_at_once_and_a_stranger_s_is_none() -> None:
    roster = Roster()
    roster.update([_beat("a")])
    assert _news(roster, _beat("a", goodbye=True), _beat("b", goodbye=True)) == [("gone", "a", 1)]
    assert _news(roster, _beat("a", goodbye=True)) == []


def test_another_boot_in_its_place_is_an_end_and_a_beginning() -> None:
    roster = Roster()
    roster.update([_beat("a")])
    assert _news(roster, _beat("a", 2)) == [("gone", "a", 1), ("is", "a", 2)]


def test_reapers_and_expired_keys_are_no_pods() -> None:
    assert _news(Roster(), _beat("r", kind="reaper"), Beat("gone", 3, None)) == []


def test_host_and_pid_are_for_operators() -> None:
    [seen] = Roster().update([_beat("a")])
    assert isinstance(seen, Changed)
    assert (seen.shown(operator=True).host, seen.shown(operator=True).pid) == ("h", 7)
    assert (seen.shown(operator=False).host, seen.shown(operator=False).pid) == (None, None)


def test_after_a_pause_nothing_is_known() -> None:
    roster = Roster()
    roster.update([_beat("a")])
    roster.forget()
    assert not roster.known
    assert _news(roster, _beat("b")) == [("is", "b", 1)]
