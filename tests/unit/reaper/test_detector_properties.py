"""What holds for every trace: no false death, no missed death, the same verdicts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_reaper.detector import (
    Beat,
    Detector,
    DetectorSettings,
    Event,
    Expired,
    Link,
    LinkBack,
    LinkLost,
    Owners,
    Probe,
    Reason,
    SelfSeen,
    detect,
)
from tests.support.samples import examples
from tests.unit.reaper.script import SETTINGS, boot
from tests.unit.reaper.simulate import Pod, Reaper, Span, World

TTL_S = SETTINGS.heartbeat_ttl_s
INTERVAL_S = SETTINGS.heartbeat_interval_s
BLIND_AFTER_S = 2 * INTERVAL_S

_time = st.integers(0, 400).map(lambda tenths: tenths / 10)


def _spans(shortest_s: float, longest_s: float) -> st.SearchStrategy[tuple[Span, ...]]:
    """Up to three spans that do not touch."""

    def apart(spans: list[tuple[float, float]]) -> tuple[Span, ...]:
        kept: list[Span] = []
        for start, length in sorted(spans):
            if not kept or start > kept[-1][1] + 1.5:
                kept.append((start + 0.03, start + 0.03 + length))
        return tuple(kept)

    length = st.floats(shortest_s, longest_s, allow_nan=False)
    return st.lists(st.tuples(_time, length), max_size=3).map(apart)


@st.composite
def _living_pods(draw: st.DrawFn, *, cut_s_max: float) -> tuple[Pod, ...]:
    """Pods that keep beating; each loses one of its links now and then, for at most ``cut_s_max``."""
    pods: list[Pod] = []
    for number in range(draw(st.integers(1, 6))):
        cuts, of_nats = draw(_spans(0.1, cut_s_max)), draw(st.booleans())
        pod = Pod(f"pod-{number}", number, phase_s=draw(st.floats(0, 0.99)))
        pods.append(replace(pod, mute=cuts) if of_nats else replace(pod, sessionless=cuts))
    return tuple(pods)


def _reapers(*, pause_s_min: float) -> st.SearchStrategy[Reaper]:
    return st.builds(Reaper, paused=_spans(pause_s_min, 12), nats_cut=_spans(0.1, 12), postgres_cut=_spans(0.1, 12))


# A pause of the reaper that is too short to blind it makes a pod's silence look longer by as much. So the two together stay
# under the TTL: either pauses of any length and short cuts, or pauses that blind and cuts up to just below the TTL.
_anything_but_death = st.one_of(
    st.tuples(_living_pods(cut_s_max=TTL_S - BLIND_AFTER_S - INTERVAL_S - 0.1), _reapers(pause_s_min=0.1)),
    st.tuples(_living_pods(cut_s_max=TTL_S - INTERVAL_S - 0.1), _reapers(pause_s_min=BLIND_AFTER_S + 0.1)),
)


@settings(max_examples=examples(200), deadline=None)
@given(
    world=_anything_but_death,
    start_over_s=st.one_of(st.just(float("inf")), _time),
    markers_s=st.lists(_time, max_size=3).map(tuple),
)
def test_no_pod_that_keeps_beating_is_ever_declared_dead(
    world: tuple[tuple[Pod, ...], Reaper], start_over_s: float, markers_s: tuple[float, ...]
) -> None:
    pods, reaper = world
    trace = World(pods, reaper, revisions_start_over_s=start_over_s, markers_s=markers_s).trace()
    assert detect(trace, SETTINGS) == []


@settings(max_examples=examples(75), deadline=None)
@given(
    living=st.integers(0, 5),
    stops=st.lists(st.floats(8, 25), min_size=1, max_size=5),
    sessions=st.booleans(),
    reaper=st.builds(Reaper, nats_cut=_spans(0.1, 3), paused=_spans(0.1, 3)),
)
def test_a_pod_that_stops_for_good_is_declared_dead_in_time(
    living: int, stops: list[float], sessions: bool, reaper: Reaper
) -> None:
    here = [Pod(f"here-{number}", 100 + number, phase_s=number / 7) for number in range(living)]
    gone = [Pod(f"gone-{number}", number, phase_s=number / 9, stops_s=at) for number, at in enumerate(stops)]
    trace = World((*here, *gone), reaper, until_s=60).trace()
    deaths = {death.pod: death for death in detect(trace, DetectorSettings(probe_sessions=sessions))}
    assert set(deaths) == {pod.name for pod in gone}
    within_s = (2 * TTL_S if len(gone) >= 3 and not sessions else TTL_S) + 2 * INTERVAL_S
    for pod in gone:
        assert deaths[pod.name].declared_at <= _clear_from(trace, pod.stops_s, within_s) + within_s


@settings(max_examples=examples(50), deadline=None)
@given(_anything_but_death, st.lists(_time, max_size=3))
def test_the_same_trace_gives_the_same_verdicts(world: tuple[tuple[Pod, ...], Reaper], stops: list[float]) -> None:
    gone = [Pod(f"gone-{number}", 50 + number, stops_s=at) for number, at in enumerate(stops)]
    trace = World((*world[0], *gone), world[1]).trace()
    assert detect(trace, SETTINGS) == detect(list(trace), SETTINGS)


_pods = st.sampled_from(["a", "b"])
_boots = st.integers(1, 3).map(boot)
_soup = st.one_of(
    st.builds(Beat, _time, _pods, _boots, st.integers(1, 30), st.sampled_from([False, False, False, True])),
    st.builds(Expired, _time, _pods),
    st.builds(Probe, _time, _pods, _boots, st.booleans(), st.booleans()),
    st.builds(Probe, _time, st.just("a"), st.just(boot(1)), st.just(True), st.just(True)),
    st.builds(Owners, _time, st.frozensets(st.tuples(_pods, _boots), max_size=3)),
    st.builds(LinkLost, _time, st.sampled_from(Link)),
    st.builds(LinkBack, _time, st.sampled_from(Link)),
)


@settings(max_examples=examples(150), deadline=None)
@given(soup=st.lists(_soup, max_size=60), paused=_spans(0.1, 6))
def test_whatever_comes_each_death_has_its_evidence(soup: list[Event], paused: tuple[Span, ...]) -> None:
    own: list[Event] = [SelfSeen(at / 10) for at in range(0, 400, 9) if not any(a <= at / 10 < b for a, b in paused)]
    trace = sorted([*soup, *own], key=lambda event: event.at)
    detector = Detector(SETTINGS)
    for position, event in enumerate(trace):
        detector.observe(event)
        seen = trace[: position + 1]
        for death in detector.verdicts(event.at):
            assert _saw_clearly(seen, event.at)
            about = [
                each for each in seen if isinstance(each, Beat) and (each.pod, each.boot) == (death.pod, death.boot)
            ]
            match death.reason:
                case Reason.REPLACED:
                    assert Beat in {type(each) for each in seen if each.at == death.since}
                    assert death.replaced_by not in {None, death.boot}
                case Reason.GOODBYE:
                    assert any(beat.goodbye and beat.at == death.since for beat in about)
                case Reason.SILENT:
                    earlier = {beat.revision for beat in about if event.at - beat.at >= TTL_S}
                    assert {beat.revision for beat in about} == earlier
                case Reason.LINKS_GONE:
                    gone = [each for each in seen if isinstance(each, Probe) and each.unanswered and each.session_gone]
                    times = [each.at for each in gone if (each.pod, each.boot) == (death.pod, death.boot)]
                    assert max(times) - death.since >= SETTINGS.probe_window_s
                case Reason.NEVER_SEEN:
                    naming = [each for each in seen if isinstance(each, Owners) and event.at - each.at < TTL_S]
                    assert all((death.pod, death.boot) in each.owners for each in naming)


def _saw_clearly(seen: Sequence[Event], now: float) -> bool:
    """Rule 5, told from the whole trace instead of step by step."""
    links = [event for event in seen if isinstance(event, LinkLost | LinkBack)]
    last_break = max((event.at for event in links), default=0.0)
    whole = all(
        isinstance(next(event for event in reversed(links) if event.link is link), LinkBack)
        for link in {event.link for event in links}
    )
    own = [event.at for event in seen if isinstance(event, SelfSeen) and event.at >= last_break]
    settled = [at for at in own if now - at >= TTL_S]
    steps = [*settled[-1:], *(at for at in own if now - at < TTL_S), now]
    gaps = [later - sooner for sooner, later in pairwise(steps)]
    return whole and bool(settled) and max(gaps) <= BLIND_AFTER_S


def _clear_from(trace: Sequence[Event], stopped_s: float, within_s: float) -> float:
    """From when on a silence that began at ``stopped_s`` counts: each break of sight in the time allowed starts it over."""
    own = [event.at for event in trace if isinstance(event, SelfSeen)]
    breaks = [(event.at, event.at) for event in trace if isinstance(event, LinkLost | LinkBack)]
    breaks += [(sooner, later) for sooner, later in pairwise(own) if later - sooner > BLIND_AFTER_S]
    clear_s = stopped_s
    for begins, ends in sorted(breaks):
        if begins <= clear_s + within_s:
            clear_s = max(clear_s, next(seen for seen in own if seen >= ends))
    return clear_s
