"""Hand-written traces: short ways to say who beat, when the reaper saw itself, and what the probes found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from holdfast_reaper.detector import Beat, Death, Detector, DetectorSettings, Event, Owners, Probe, SelfSeen

SETTINGS = DetectorSettings()


def boot(number: int) -> UUID:
    """The same boot for the same number."""
    return UUID(int=number)


def beats(pod: str, number: int, start_s: float, last_s: float, *, every_s: float = 1.0) -> list[Event]:
    """Healthy beats of boot ``number``. Revisions grow with time, as in a bucket that all pods share."""
    times = _times(start_s, last_s, every_s)
    return [Beat(at, pod, boot(number), revision=round(at * 1000) + 1) for at in times]


def goodbye(pod: str, number: int, at: float) -> Beat:
    """A deliberate last beat."""
    return Beat(at, pod, boot(number), revision=round(at * 1000) + 1, goodbye=True)


def own(start_s: float, last_s: float) -> list[Event]:
    """The reaper's own heartbeats as they come back, one a second."""
    return [SelfSeen(at) for at in _times(start_s, last_s, 1.0)]


def owners(at: float, *names: tuple[str, int]) -> Owners:
    """What the record names."""
    return Owners(at, frozenset((pod, boot(number)) for pod, number in names))


def probes(pod: str, number: int, *times_s: float, unanswered: bool = True, session_gone: bool = True) -> list[Event]:
    """Rounds of probes; both links gone unless said otherwise."""
    return [Probe(at, pod, boot(number), unanswered, session_gone) for at in times_s]


def merged(*parts: Iterable[Event]) -> list[Event]:
    """One trace, in order of time; at the same time in the order of the parts."""
    return sorted((event for part in parts for event in part), key=lambda event: event.at)


def observed(*parts: Iterable[Event], settings: DetectorSettings = SETTINGS) -> Detector:
    """A detector that has seen all of these and was asked nothing yet."""
    detector = Detector(settings)
    for event in merged(*parts):
        detector.observe(event)
    return detector


def named(deaths: Iterable[Death]) -> list[tuple[str, int, str]]:
    """(pod, number of the boot, reason) of each death."""
    return [(death.pod, death.boot.int, death.reason.value) for death in deaths]


def _times(start_s: float, last_s: float, every_s: float) -> Iterator[float]:
    steps = round((last_s - start_s) / every_s)
    return (start_s + step * every_s for step in range(steps + 1))
