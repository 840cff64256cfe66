"""The detector's rules, 5 to 8: what restrains it, what it takes back, what it forgets. On hand-written traces."""

from __future__ import annotations

import pytest

from holdfast_reaper.detector import (
    Beat,
    Detector,
    DetectorSettings,
    Event,
    Expired,
    Link,
    LinkBack,
    LinkLost,
    Reason,
    SelfSeen,
    detect,
)
from holdfast_reaper.roster import Roster
from tests.unit.reaper.script import SETTINGS, beats, boot, goodbye, merged, named, observed, own, owners, probes


def test_rule_5_starts_blind_and_sees_after_one_ttl() -> None:
    detector = Detector(SETTINGS)
    assert detector.why_blind(0.0) == "own heartbeat not seen in the bucket yet"
    detector = observed(own(3, 8))
    assert detector.why_blind(7.5) == "clear sight for 4.5 s of 5 s"
    assert detector.can_see(8.0)
    assert detector.can_see(10.0)
    assert detector.why_blind(10.5) == "own heartbeat last seen 2.5 s ago"


@pytest.mark.parametrize("link", list(Link))
def test_rule_5_a_lost_link_blinds_for_a_ttl_after_it_is_back(link: Link) -> None:
    dead = [*beats("p", 1, 0.5, 6.5), goodbye("p", 1, 6.6)]
    detector = observed(own(0, 7), dead, [LinkLost(7.2, link)])
    assert detector.verdicts(7.3) == ()
    assert detector.why_blind(7.3) == f"link lost: {link}"
    for event in merged(own(8, 16), [LinkBack(9.5, link)]):
        detector.observe(event)
        assert (detector.verdicts(event.at) != ()) == (event.at >= 15.0)
    assert named(detector.verdicts(16.0)) == [("p", 1, "goodbye")]


def test_rule_5_a_link_that_is_back_was_lost_even_when_nobody_noticed() -> None:
    detector = observed(own(0, 10), [LinkBack(10.5, Link.NATS)], own(11, 12))
    assert detector.why_blind(12.0) == "clear sight for 1.0 s of 5 s"


def test_rule_5_own_heartbeats_two_intervals_apart_are_clear_sight() -> None:
    assert observed([SelfSeen(2.0 * step) for step in range(5)]).can_see(10.0)


def test_rule_5_a_gap_between_own_heartbeats_blinds() -> None:
    replaced = [*beats("p", 1, 0.5, 6.5), Beat(6.7, "p", boot(2), 9000)]
    detector = observed(own(0, 6), replaced, own(8.5, 13.5), beats("p", 2, 8.9, 13.1))
    assert detector.verdicts(13.4) == ()
    assert named(detector.verdicts(13.5)) == [("p", 1, "replaced")]


def test_rule_5_probes_from_before_a_break_of_sight_are_void() -> None:
    gone = probes("p", 1, 11.1, 11.6, 12.1)
    detector = observed(own(0, 12), beats("p", 1, 0.5, 9.5), gone, [LinkBack(12.2, Link.POSTGRES)], own(13, 18))
    assert detector.verdicts(17.9) == ()
    assert named(detector.verdicts(18.0)) == [("p", 1, "silent")]


def test_rule_6_many_wait_a_second_ttl() -> None:
    pods = [beats(f"p{number}", number, 0.5 + number / 10, 9.5 + number / 10) for number in range(1, 6)]
    assert named(detect(merged(own(0, 14), *pods), SETTINGS)) == []
    detector = observed(own(0, 25), *pods)
    for now in (14.6, 15.0, 16.0, 19.5):
        assert detector.verdicts(now) == ()
    assert len(detector.verdicts(19.6)) == 1
    assert len(detector.verdicts(20.0)) == 5


@pytest.mark.parametrize(("silent", "healthy", "waits"), [(2, 0, False), (3, 3, True), (3, 4, False), (4, 4, True)])
def test_rule_6_many_is_three_and_half_of_the_living(silent: int, healthy: int, waits: bool) -> None:
    gone = [beats(f"s{number}", number, 0.5, 9.5) for number in range(silent)]
    here = [beats(f"h{number}", 100 + number, 0.6, 15.6) for number in range(healthy)]
    detector = observed(own(0, 16), *gone, *here)
    assert len(detector.verdicts(15.9)) == (0 if waits else silent)


def test_rule_6_the_wait_lasts_even_when_the_others_come_back() -> None:
    pods = [beats(f"p{number}", number, 0.5, 9.5) for number in range(4)]
    detector = observed(own(0, 14), *pods)
    assert detector.verdicts(14.6) == ()
    for event in merged(own(15, 20), *(beats(f"p{number}", number, 15.2, 19.2) for number in (1, 2, 3))):
        assert detector.observe(event) is None
    assert detector.verdicts(19.4) == ()
    assert named(detector.verdicts(19.5)) == [("p0", 0, "silent")]


def test_rule_6_a_break_of_sight_asks_anew() -> None:
    detector = observed(own(0, 14), *(beats(f"p{number}", number, 0.5, 9.5) for number in range(4)))
    assert detector.verdicts(14.6) == ()
    back = [beats(f"p{number}", number, 15.2, 22.2) for number in (1, 2, 3)]
    for event in merged([LinkBack(15.0, Link.NATS)], own(16, 22), *back):
        detector.observe(event)
    assert named(detector.verdicts(21.0)) == [("p0", 0, "silent")]


def test_rule_6_a_boot_is_asked_about_no_sooner_than_its_own_ttl() -> None:
    """Three more fall silent 3.5 s after the first: it is alone when its time comes, they are not."""
    late = [beats(f"p{number}", number, 1.0, 13.0) for number in (1, 2, 3)]
    detector = observed(own(0, 23), beats("p0", 0, 0.5, 9.5), *late)
    assert named(detector.verdicts(14.5)) == [("p0", 0, "silent")]
    assert named(detector.verdicts(22.9)) == [("p0", 0, "silent")]
    assert len(detector.verdicts(23.0)) == 4


@pytest.mark.parametrize("how", ["goodbye", "replaced"])
def test_rule_6_those_that_left_in_another_way_do_not_count(how: str) -> None:
    """A rolling deploy takes three pods, and one is killed meanwhile."""
    left = [beats(f"p{number}", number, 0.5, 8.5) for number in (1, 2, 3)]
    ends = [goodbye(f"p{number}", number, 9.2) for number in (1, 2, 3)]
    if how == "replaced":
        ends = [Beat(9.2, f"p{number}", boot(10 + number), 90_000) for number in (1, 2, 3)]
        left += [beats(f"p{number}", 10 + number, 10.2, 15.2) for number in (1, 2, 3)]
    detector = observed(own(0, 15), beats("p0", 0, 0.5, 9.5), *left, ends)
    assert ("p0", 0, "silent") in named(detector.verdicts(14.5))


def test_rule_6_the_long_dead_do_not_count() -> None:
    dead = [beats(f"d{number}", 100 + number, 0.5, 1.5) for number in range(9)]
    here = [beats(f"h{number}", 200 + number, 0.5, 25.5) for number in range(2)]
    detector = observed(own(0, 25), *dead, *here, beats("p", 1, 0.5, 19.5))
    assert ("p", 1, "silent") in named(detector.verdicts(24.5))
    three = [beats(f"p{number}", number, 0.5, 19.5) for number in range(3)]
    detector = observed(own(0, 25), *dead, here[0], *three)
    assert len(detector.verdicts(24.5)) == 9, "three of four living: they wait, whatever died before"


def test_rule_6_the_fast_path_does_not_wait() -> None:
    pods = [beats(f"p{number}", number, 0.5, 9.5) for number in range(4)]
    gone = [probes(f"p{number}", number, 11.1, 11.6, 12.1) for number in range(4)]
    assert len(observed(own(0, 13), *pods, *gone).verdicts(12.5)) == 4


def test_rule_7_a_boot_that_beats_again_is_alive_and_its_death_was_false() -> None:
    detector = observed(own(0, 15), beats("p", 1, 0.5, 9.5))
    (death,) = detector.verdicts(15.0)
    assert detector.observe(Beat(15.5, "p", boot(1), 99_999)) == death
    assert detector.verdicts(15.6) == ()
    assert detector.observe(Beat(16.5, "p", boot(1), 100_000)) is None, "told once"


@pytest.mark.parametrize("last", [1, 2])
def test_rule_7_a_goodbye_shows_life_and_so_does_a_beat_after_it(last: int) -> None:
    said = [goodbye("p", 1, 15.5), Beat(16.5, "p", boot(1), 99_999)]
    detector = observed(own(0, 16), beats("p", 1, 0.5, 9.5), said[: last - 1])
    (death,) = detector.verdicts(16.0)
    assert detector.observe(said[last - 1]) == death


def test_rule_7_a_death_that_nobody_was_told_of_is_not_a_false_one() -> None:
    detector = observed(own(0, 15), beats("p", 1, 0.5, 9.5))
    assert detector.observe(Beat(15.5, "p", boot(1), 99_999)) is None


def test_rule_7_a_zombie_that_takes_its_name_back_lives_and_the_other_one_does_not() -> None:
    detector = observed(own(0, 20), beats("p", 1, 0.5, 9.5), beats("p", 2, 10.5, 14.5), beats("p", 1, 19.7, 19.7))
    assert named(detector.verdicts(20.0)) == [("p", 2, "replaced")]


@pytest.mark.parametrize("noticed", [True, False])
def test_rule_7_revisions_that_start_over_are_changes(noticed: bool) -> None:
    over = [Beat(10.5 + step, "p", boot(1), revision=step + 1) for step in range(10)]
    trace = merged(own(0, 20), beats("p", 1, 0.5, 9.5), _reconnect(noticed), over)
    assert detect(trace, SETTINGS) == []


@pytest.mark.parametrize(("noticed", "last", "taken_in_s"), [(True, 1, 10.5), (True, 9999, 10.5), (False, 9999, 14.5)])
def test_rule_7_a_new_boot_is_taken_in_after_revisions_started_over(
    noticed: bool, last: int, taken_in_s: float
) -> None:
    """At once when sight broke; else when the old one's word is stale, which is before anybody could hold the new one dead.
    By chance the new one may begin at the very revision where the old one ended."""
    over = [Beat(10.5 + step, "p", boot(2), revision=step + 1) for step in range(20)]
    before = [Beat(8.5, "p", boot(1), revision=9998), Beat(9.5, "p", boot(1), revision=last)]
    naming = [owners(10.6, ("p", 2)), owners(20.6, ("p", 2))]
    (death,) = observed(own(0, 30), before, _reconnect(noticed), over, naming).verdicts(30.0)
    assert (death.boot, death.reason, death.since) == (boot(1), Reason.REPLACED, taken_in_s)


def test_rule_8_boots_that_are_gone_and_not_named_are_forgotten() -> None:
    detector = Detector(SETTINGS)
    churn = [beats(f"pod-{number}", number, float(number), number + 1.0) for number in range(500)]
    held = 0
    for event in merged(own(0, 510), [owners(2.0, ("pod-0", 0))], *churn):
        detector.observe(event)
        held = max(held, len(detector.verdicts(event.at)))
    assert held < 80, "twelve TTLs of deaths, one a second"
    assert ("pod-0", 0, "silent") in named(detector.verdicts(510.0)), "an owner is kept for as long as it is named"
    for event in merged(own(511, 516), [owners(511.0)]):
        detector.observe(event)
    assert ("pod-0", 0, "silent") not in named(detector.verdicts(516.0))


def test_rule_8_a_death_is_held_for_a_dozen_ttls_without_an_owners_name() -> None:
    detector = observed(own(0, 69), beats("p", 1, 0.5, 9.5))
    assert named(detector.verdicts(69.0)) == [("p", 1, "silent")]
    for event in own(70, 76):
        detector.observe(event)
    assert detector.verdicts(76.0) == ()


def test_rule_8_nothing_is_kept_of_a_pod_that_is_forgotten() -> None:
    roster = Roster(heartbeat_ttl_s=5.0, probe_window_s=1.0)
    for at in range(1000):
        roster.beat(Beat(at, f"pod-{at}", boot(at), at + 1), 0)
        roster.forget(at)
    assert max(len(roster.boots), len(roster.holders)) < 80


def test_rule_8_a_pod_whose_old_boot_is_forgotten_keeps_its_holder() -> None:
    detector = observed(own(0, 80), beats("p", 1, 0.5, 2.5), beats("p", 2, 3.5, 79.5), beats("p", 3, 80.0, 80.0))
    assert named(detector.verdicts(80.0)) == [("p", 2, "replaced")]


def test_a_replay_asks_before_and_after_each_event() -> None:
    late = [Beat(14.9, "p", boot(1), 90_000), Beat(20.8, "p", boot(1), 90_001), goodbye("q", 2, 21.0)]
    deaths = detect(merged(own(0, 20.0), beats("p", 1, 0.5, 9.5), late), SETTINGS)
    assert [(death.pod, death.declared_at) for death in deaths] == [("p", 14.9), ("p", 20.0), ("q", 21.0)]


def test_verdicts_come_in_an_order_that_does_not_depend_on_the_process() -> None:
    """Sets of strings are ordered by a hash that each process seeds anew."""
    names = [(f"pod-{number}", number) for number in range(10)]
    deaths = observed(own(0, 20), [owners(8.0, *names)]).verdicts(20.0)
    assert [death.pod for death in deaths] == [pod for pod, _ in names]


def test_suspects_are_the_late_the_named_but_unseen_the_expired_and_those_without_a_session() -> None:
    healthy = [beats(f"ok{number}", 50 + number, 0.5, 9.5) for number in range(3)]
    detector = observed(
        own(0, 10),
        *healthy,
        beats("late", 1, 0.5, 7.5),
        [owners(9.0, ("unseen", 2), ("ok0", 50))],
        beats("expired", 3, 0.5, 9.5),
        [Expired(9.6, "expired"), Expired(9.6, "nobody")],
        beats("sessionless", 4, 0.5, 9.5),
        probes("sessionless", 4, 9.0, unanswered=False),
        [goodbye("gone", 5, 5.0)],
        beats("replaced", 6, 0.5, 3.5),
        beats("replaced", 7, 4.5, 9.5),
    )
    assert sorted(pod for pod, _ in detector.suspects(10.0)) == ["expired", "late", "sessionless", "unseen"]
    detector.observe(Beat(10.1, "expired", boot(3), 99_999))
    assert "expired" not in dict(detector.suspects(10.2))


@pytest.mark.parametrize(
    "wrong",
    [{"heartbeat_interval_s": 0.0}, {"probe_window_s": 0.0}, {"heartbeat_ttl_s": 1.9}, {"heartbeat_interval_s": 3.0}],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        DetectorSettings(**wrong)  # type: ignore[arg-type]  # the point is the values; every field named is a float


def test_a_ttl_of_two_intervals_is_the_least() -> None:
    assert DetectorSettings(heartbeat_ttl_s=2.0).heartbeat_ttl_s == 2.0


def _reconnect(noticed: bool) -> list[Event]:
    return [LinkLost(9.6, Link.NATS), LinkBack(10.0, Link.NATS)] if noticed else []
