"""The detector's rules, 1 to 4: what convicts. On hand-written traces."""

from __future__ import annotations

import pytest

from holdfast_reaper.detector import (
    Beat,
    DetectorSettings,
    Event,
    Link,
    LinkBack,
    Reason,
    detect,
)
from tests.unit.reaper.script import SETTINGS, beats, boot, goodbye, merged, named, observed, own, owners, probes

NO_SESSIONS = DetectorSettings(probe_sessions=False)


def test_rule_1_a_boot_that_another_one_replaced_is_dead_at_once_and_its_successor_is_not() -> None:
    detector = observed(own(0, 10), beats("p", 1, 0.5, 9.5), beats("p", 2, 9.8, 9.8))
    (death,) = detector.verdicts(9.9)
    assert named([death]) == [("p", 1, "replaced")]
    assert (death.since, death.last_change_at, death.replaced_by) == (9.8, 9.5, boot(2))


def test_rule_1_a_goodbye_is_death_at_once() -> None:
    detector = observed(own(0, 10), beats("p", 1, 0.5, 9.5), [goodbye("p", 1, 9.7)])
    (death,) = detector.verdicts(9.7)
    assert (death.reason, death.since) == (Reason.GOODBYE, 9.7)


def test_rule_1_a_goodbye_said_twice_disproves_nothing() -> None:
    detector = observed(own(0, 10), [goodbye("p", 1, 9.0)])
    assert named(detector.verdicts(10.0)) == [("p", 1, "goodbye")]
    assert detector.observe(goodbye("p", 1, 10.1)) is None
    assert named(detector.verdicts(10.2)) == [("p", 1, "goodbye")]


def test_rule_1_an_old_beat_of_a_replaced_boot_delivered_late_does_not_convict_its_successor() -> None:
    detector = observed(
        own(0, 10), [Beat(8.0, "p", boot(1), 70), Beat(9.0, "p", boot(2), 90), Beat(9.1, "p", boot(1), 80)]
    )
    assert named(detector.verdicts(10.0)) == [("p", 1, "replaced")]


def test_rule_1_an_old_beat_delivered_after_the_goodbye_revives_nobody() -> None:
    detector = observed(own(0, 10), [Beat(8.0, "p", boot(1), 80), Beat(9.0, "p", boot(1), 90, goodbye=True)])
    assert named(detector.verdicts(9.5)) == [("p", 1, "goodbye")]
    assert detector.observe(Beat(9.6, "p", boot(1), 80)) is None
    assert named(detector.verdicts(10.0)) == [("p", 1, "goodbye")]


def test_rule_1_order_is_told_by_revisions_after_a_break_of_sight_as_well() -> None:
    late = [Beat(8.0, "p", boot(1), 70), Beat(9.0, "p", boot(2), 90), Beat(9.1, "p", boot(1), 80)]
    detector = observed([LinkBack(0.0, Link.NATS)], own(1, 10), late)
    assert named(detector.verdicts(10.0)) == [("p", 1, "replaced")]


def test_rule_1_better_evidence_takes_the_place_of_worse() -> None:
    detector = observed(own(0, 15), beats("p", 1, 0.5, 9.5))
    assert named(detector.verdicts(15.0)) == [("p", 1, "silent")]
    detector.observe(Beat(15.2, "p", boot(2), 99_999))
    (death,) = detector.verdicts(15.3)
    assert (death.reason, death.since, death.declared_at) == (Reason.REPLACED, 15.2, 15.3)


def test_rule_2_silence_is_counted_from_the_last_change() -> None:
    detector = observed(own(0, 20), beats("p", 1, 0.5, 9.5))
    assert detector.verdicts(14.4) == ()
    (death,) = detector.verdicts(14.5)
    assert (death.reason, death.since, death.last_change_at, death.declared_at) == (Reason.SILENT, 9.5, 9.5, 14.5)
    assert detector.verdicts(19.0) == (death,), "the same death for as long as the evidence is the same"


def test_rule_2_silence_is_not_counted_from_before_the_sight() -> None:
    detector = observed(own(0, 9), beats("p", 1, 0.5, 8.5), own(13, 18))
    assert detector.verdicts(17.9) == ()
    (death,) = detector.verdicts(18.0)
    assert (death.since, death.last_change_at) == (13.0, 8.5)


def test_rule_2_the_same_revision_again_is_no_change() -> None:
    again = [Beat(at, "p", boot(1), revision=7) for at in (6.0, 7.0, 8.0, 9.0, 10.0)]
    assert named(observed(own(0, 11), again).verdicts(11.0)) == [("p", 1, "silent")]


def test_rule_3_both_links_gone_for_the_window_is_death_before_the_ttl() -> None:
    detector = observed(own(0, 13), beats("p", 1, 0.5, 9.5), probes("p", 1, 11.1, 11.6, 12.1))
    (death,) = detector.verdicts(12.2)
    assert (death.reason, death.since, death.last_change_at) == (Reason.LINKS_GONE, 11.1, 9.5)


@pytest.mark.parametrize(
    ("why", "rounds"),
    [
        ("less than the window", probes("p", 1, 11.1, 11.6, 12.0)),
        ("one probe", probes("p", 1, 12.0)),
        ("too far apart", probes("p", 1, 10.9, 12.1)),
        ("only NATS", probes("p", 1, 11.1, 11.6, 12.1, session_gone=False)),
        ("only Postgres", probes("p", 1, 11.1, 11.6, 12.1, unanswered=False)),
        (
            "the one, then the other",
            probes("p", 1, 11.1, 11.6, session_gone=False) + probes("p", 1, 12.1, unanswered=False),
        ),
        ("not consistent", probes("p", 1, 11.1, 12.1) + probes("p", 1, 11.6, session_gone=False)),
        ("another boot", probes("p", 2, 11.1, 11.6, 12.1)),
        ("begun before the last beat", probes("p", 1, 9.0, 9.4)),
    ],
)
def test_rule_3_anything_less_proves_nothing(why: str, rounds: list[Event]) -> None:
    detector = observed(own(0, 13), beats("p", 1, 0.5, 9.5), rounds)
    assert detector.verdicts(12.2) == (), why


def test_rule_3_two_probes_a_window_apart_suffice() -> None:
    detector = observed(own(0, 13), beats("p", 1, 0.5, 9.5), probes("p", 1, 11.0, 12.0))
    assert named(detector.verdicts(12.2)) == [("p", 1, "links_gone")]


def test_rule_3_a_link_seen_in_between_starts_the_window_anew() -> None:
    gone = probes("p", 1, 10.75, *(11.25 + step / 4 for step in range(5)))
    detector = observed(own(0, 13), beats("p", 1, 0.5, 9.5), gone, probes("p", 1, 11.0, session_gone=False))
    (death,) = detector.verdicts(12.4)
    assert (death.reason, death.since) == (Reason.LINKS_GONE, 11.25)


def test_rule_3_a_beat_in_between_starts_the_window_anew() -> None:
    gone = probes("p", 1, *(11.1 + step / 4 for step in range(8)))
    detector = observed(own(0, 13), beats("p", 1, 0.5, 9.5), beats("p", 1, 12.0, 12.0), gone)
    assert detector.verdicts(12.9) == ()


def test_rule_3_a_boot_that_beats_on_time_is_alive_whatever_the_probes_say() -> None:
    """A window as long as the interval fits between two healthy beats; a process that starts has no links yet."""
    gone = probes("p", 1, *(step / 10 for step in range(5, 200)))
    assert detect(merged(own(0, 20), beats("p", 1, 0.45, 19.8, every_s=1.2), gone), SETTINGS) == []


def test_rule_3_is_off_without_sessions() -> None:
    detector = observed(own(0, 13), beats("p", 1, 0.5, 9.5), probes("p", 1, 11.1, 11.6, 12.1), settings=NO_SESSIONS)
    assert detector.verdicts(12.2) == ()
    assert detector.suspects(12.2) == ()
    assert named(detector.verdicts(14.5)) == [("p", 1, "silent")]


def test_rule_4_an_owner_never_seen_is_dead_one_ttl_after_it_was_first_named() -> None:
    detector = observed(own(0, 20), [owners(at, ("p", 1)) for at in (8.0, 10.0, 12.0)])
    assert detector.verdicts(12.9) == ()
    (death,) = detector.verdicts(13.0)
    assert (death.reason, death.since, death.last_change_at) == (Reason.NEVER_SEEN, 8.0, None)


def test_rule_4_a_name_that_went_away_starts_anew() -> None:
    (death,) = detect(merged(own(0, 20), [owners(8.0, ("p", 1)), owners(10.0), owners(12.0, ("p", 1))]), SETTINGS)
    assert (death.reason, death.since, death.declared_at) == (Reason.NEVER_SEEN, 12.0, 17.0)


def test_rule_4_both_links_gone_is_quicker() -> None:
    detector = observed(own(0, 20), [owners(8.0, ("p", 1))], probes("p", 1, 8.1, 8.6, 9.1))
    assert named(detector.verdicts(9.1)) == [("p", 1, "links_gone")]


def test_rule_4_another_boot_of_the_same_pod_proves_nothing_about_one_never_seen() -> None:
    detector = observed(own(0, 20), beats("p", 2, 0.5, 19.5), [owners(8.0, ("p", 1))])
    assert detector.verdicts(12.9) == ()
    assert named(detector.verdicts(13.0)) == [("p", 1, "never_seen")]
