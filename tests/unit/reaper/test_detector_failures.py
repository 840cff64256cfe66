"""The rows of the failure list that concern the detector, each by its id."""

from __future__ import annotations

import pytest

from holdfast_reaper.detector import Beat, Event, Expired, Link, LinkBack, LinkLost, SelfSeen, detect
from tests.unit.reaper.script import SETTINGS, beats, boot, goodbye, merged, named, observed, own, owners, probes

PODS = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]


def _all_beat(start_s: float, last_s: float) -> list[Event]:
    return merged(*(beats(pod, number, start_s + number / 10, last_s + number / 10) for pod, number in PODS))


def _expired(at: float) -> list[Event]:
    return [Expired(at, pod) for pod, _ in PODS]


def test_f04_age_is_not_death() -> None:
    """An owner for a day, with a slow but steady pulse, first heard of by a reaper that has just started."""
    trace = merged(own(90_000, 90_100), beats("a", 1, 90_003, 90_099, every_s=4.8), [owners(90_001, ("a", 1))])
    assert detect(trace, SETTINGS) == []


def test_f06_the_only_pod_restarted_under_its_own_name_is_noticed_at_once() -> None:
    trace = merged(own(0, 20), beats("a", 1, 0.5, 9.5), [owners(9.0, ("a", 1))], beats("a", 2, 10.2, 19.2))
    (death,) = detect(trace, SETTINGS)
    assert named([death]) == [("a", 1, "replaced")]
    assert death.declared_at == 10.2


def test_f07_a_sigkill_is_noticed_without_any_message() -> None:
    """No expiry marker, no goodbye, no probe: time alone, counted by the detector."""
    trace = merged(own(0, 20), beats("a", 1, 0.5, 9.5), beats("b", 2, 0.6, 19.6))
    (death,) = detect(trace, SETTINGS)
    assert named([death]) == [("a", 1, "silent")]
    assert 14.5 <= death.declared_at <= 15.0


def test_f07_a_sigkill_is_noticed_well_within_the_ttl_by_probes() -> None:
    trace = merged(own(0, 20), beats("a", 1, 0.5, 9.5), probes("a", 1, *(11.05 + step / 4 for step in range(20))))
    (death,) = detect(trace, SETTINGS)
    assert named([death]) == [("a", 1, "links_gone")]
    assert death.declared_at - 9.5 <= 3.0


def test_f09_values_delivered_again_after_a_reconnect_are_neither_life_nor_death() -> None:
    """``b`` and ``c`` died while the reaper was away; ``b`` has been replaced meanwhile. All last values are delivered again."""
    away: list[Event] = [LinkLost(9.9, Link.NATS), LinkBack(12.0, Link.NATS)]
    again: list[Event] = [Beat(12.01, "c", boot(3), revision=9301), Beat(12.02, "b", boot(20), revision=9950)]
    before = [beats("a", 1, 0.1, 9.1), beats("b", 2, 0.2, 9.2), beats("c", 3, 0.3, 9.3)]
    after = [beats("a", 1, 12.03, 29.03), beats("b", 20, 13.0, 29.0)]
    deaths = detect(merged(own(0, 9), away, again, own(12.5, 29.5), *before, *after), SETTINGS)
    assert sorted(named(deaths)) == [("b", 2, "replaced"), ("c", 3, "silent")]
    assert all(17.5 <= death.declared_at <= 18.6 for death in deaths), [death.declared_at for death in deaths]


def test_f12_empty_bucket_after_restart_reclaims_nobody() -> None:
    """The pods need 4 s to come back, and revisions start over."""
    restart: list[Event] = [LinkLost(9.9, Link.NATS), LinkBack(12.0, Link.NATS)]
    naming = [owners(float(at), *PODS) for at in range(0, 30, 2)]
    over = [Beat(event.at, event.pod, event.boot, event.revision - 15_000) for event in _beats(_all_beat(16, 29))]
    assert detect(merged(own(0, 9), _all_beat(0, 9), restart, own(12.5, 29.5), over, naming), SETTINGS) == []


def test_f12_empty_bucket_that_the_reaper_did_not_notice_reclaims_nobody() -> None:
    """The stream's server lost its disk; the reaper's own connection stayed whole, but its heartbeats did not come back."""
    over = [Beat(event.at, event.pod, event.boot, event.revision - 12_000) for event in _beats(_all_beat(13, 29))]
    assert detect(merged(own(0, 9), _all_beat(0, 9), own(12.5, 29.5), over), SETTINGS) == []


def test_f12_a_reaper_that_starts_with_an_empty_bucket_waits_for_the_owners_to_show_up() -> None:
    trace = merged(own(100, 120), [owners(100.2, *PODS)], _all_beat(104, 120))
    assert detect(trace, SETTINGS) == []


def test_f12_a_bucket_without_a_leader_is_not_silence() -> None:
    """Nobody's heartbeat gets through for 8 s, not even the reaper's own; no connection is lost."""
    trace = merged(own(0, 10), _all_beat(0, 9.9), own(18, 40), _all_beat(18.5, 39))
    assert detect(trace, SETTINGS) == []


def test_f21_beats_missed_for_less_than_the_ttl_are_no_death() -> None:
    trace = merged(own(0, 30), beats("a", 1, 0.5, 9.5), beats("a", 1, 14.4, 29.4), beats("b", 2, 0.6, 29.6))
    assert detect(trace, SETTINGS) == []


def test_f21_a_stall_of_the_reaper_itself_is_nobodys_death() -> None:
    """It wakes up after 20 s and is asked before it has read what waited in its socket."""
    waited = [Beat(30.0, pod, boot(number), 90_000 + number) for pod, number in PODS]
    asleep = observed(own(0, 10), _all_beat(0, 9.5))
    assert asleep.verdicts(30.0) == ()
    trace = merged(own(0, 10), _all_beat(0, 9.5), [SelfSeen(30.0)], waited, own(31, 50), _all_beat(30.5, 49))
    assert detect(trace, SETTINGS) == []


@pytest.mark.parametrize("link", ["nats", "postgres"])
def test_f23_one_link_of_one_pod_cut_for_less_than_the_ttl_reclaims_nothing(link: str) -> None:
    cut = link == "nats"
    pulse = [beats("a", 1, 0.5, 9.5), beats("a", 1, 14.0, 30.0)] if cut else [beats("a", 1, 0.5, 29.5)]
    rounds = probes("a", 1, *(9.6 + step / 4 for step in range(18)), unanswered=cut, session_gone=not cut)
    assert detect(merged(own(0, 30), *pulse, rounds, beats("b", 2, 0.6, 29.6)), SETTINGS) == []


def test_f23_links_that_flap_in_turn_are_never_both_gone() -> None:
    turns = [
        probes("a", 1, 10.0 + step / 4, unanswered=step % 2 == 0, session_gone=step % 2 == 1) for step in range(16)
    ]
    trace = merged(own(0, 30), beats("a", 1, 0.5, 9.5), beats("a", 1, 14.2, 29.2), *turns)
    assert detect(trace, SETTINGS) == []


def test_f24_an_outage_that_expires_every_key_replaces_nobody() -> None:
    """The same boots write their keys anew; the markers come first, and the reaper's links come back before theirs."""
    outage: list[Event] = [LinkLost(10.4, Link.NATS), LinkBack(20.0, Link.NATS)]
    trace = merged(own(0, 10), _all_beat(0, 10), outage, _expired(20.2), own(20.3, 40.3), _all_beat(22, 40))
    assert detect(trace, SETTINGS) == []


def test_f24_only_another_boot_in_the_key_is_a_takeover() -> None:
    trace = merged(
        own(0, 20), _all_beat(0, 19), [Expired(9.95, "a"), goodbye("b", 2, 19.5)], beats("c", 30, 19.7, 19.7)
    )
    assert sorted(named(detect(trace, SETTINGS))) == [("b", 2, "goodbye"), ("c", 3, "replaced")]


def _beats(events: list[Event]) -> list[Beat]:
    return [event for event in events if isinstance(event, Beat)]
