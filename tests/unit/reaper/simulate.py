"""A simulated installation: what a reaper would observe of pods that live, lose a link, or stop. No randomness of its own.

Pods act in true time; the reaper sees what they did late (while it is paused), not at all (while its own link is cut), or
again (the last values are delivered anew when its link is back).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from holdfast_reaper.detector import Beat, Event, Expired, Link, LinkBack, LinkLost, Owners, Probe, SelfSeen

PROBE_EVERY_S = 0.5
OWNERS_EVERY_S = 2.0
RENEW_AFTER_S = 0.05

Span = tuple[float, float]
"""From (included) until (excluded), in seconds."""


@dataclass(frozen=True)
class Pod:
    """One boot: ``phase_s`` staggers its beats; ``mute`` is when it cannot reach NATS, ``sessionless`` Postgres."""

    name: str
    number: int
    phase_s: float = 0.0
    every_s: float = 1.0
    starts_s: float = 0.0
    stops_s: float = float("inf")
    mute: tuple[Span, ...] = ()
    sessionless: tuple[Span, ...] = ()

    @property
    def boot(self) -> UUID:
        return UUID(int=self.number)

    def beats_s(self, until_s: float) -> Iterator[float]:
        """When it beats. One that could not beat does so shortly after its link is back."""
        at = self.starts_s + self.phase_s
        while at < min(self.stops_s, until_s):
            silent_until = max((end for start, end in self.mute if start <= at < end), default=None)
            if silent_until is None:
                yield at
                at += self.every_s
            else:
                at = silent_until + RENEW_AFTER_S


@dataclass(frozen=True)
class Reaper:
    """What befalls the reaper: ``paused`` freezes the process, ``nats_cut`` and ``postgres_cut`` take a link from it."""

    paused: tuple[Span, ...] = ()
    nats_cut: tuple[Span, ...] = ()
    postgres_cut: tuple[Span, ...] = ()


@dataclass(frozen=True)
class World:
    """A whole installation. ``revisions_start_over_s``: the bucket loses its data then."""

    pods: tuple[Pod, ...]
    reaper: Reaper = Reaper()
    until_s: float = 40.0
    revisions_start_over_s: float = float("inf")
    markers_s: tuple[float, ...] = ()

    def trace(self) -> list[Event]:
        """Everything that the reaper observes, in its order."""
        true_time = sorted([*self._bucket(), *self._looks(), *self._links()], key=lambda event: event.at)
        return list(_delivered(true_time, self.reaper))

    def _bucket(self) -> Iterator[Event]:
        written = sorted((at, pod.name, pod) for pod in self.pods for at in pod.beats_s(self.until_s))
        revision = 1000
        for at, _, pod in written:
            revision += 1
            yield Beat(at, pod.name, pod.boot, revision - (1000 if at >= self.revisions_start_over_s else 0))
        yield from (SelfSeen(at) for at in _every(1.0, self.until_s))
        yield from (Expired(at, pod.name) for at in self.markers_s for pod in self.pods)

    def _looks(self) -> Iterator[Event]:
        for at in _every(PROBE_EVERY_S, self.until_s):
            if _within(at, self.reaper.paused):
                continue
            for pod in self.pods:
                gone = not pod.starts_s <= at < pod.stops_s
                unanswered = (gone or _within(at, pod.mute)) and not _within(at, self.reaper.nats_cut)
                session_gone = (gone or _within(at, pod.sessionless)) and not _within(at, self.reaper.postgres_cut)
                yield Probe(at, pod.name, pod.boot, unanswered, session_gone)
        for at in _every(OWNERS_EVERY_S, self.until_s):
            if not _within(at, (*self.reaper.paused, *self.reaper.postgres_cut)):
                yield Owners(at, frozenset((pod.name, pod.boot) for pod in self.pods if pod.starts_s + 1 <= at))

    def _links(self) -> Iterator[Event]:
        for link, cuts in ((Link.NATS, self.reaper.nats_cut), (Link.POSTGRES, self.reaper.postgres_cut)):
            for start, end in cuts:
                yield LinkLost(start, link)
                yield LinkBack(end, link)


def _delivered(true_time: Sequence[Event], reaper: Reaper) -> Iterator[Event]:
    newest: dict[str, Beat] = {}
    for event in true_time:
        arrives = max((end for start, end in reaper.paused if start <= event.at < end), default=event.at)
        if isinstance(event, Beat):
            newest[event.pod] = event
        if isinstance(event, Beat | SelfSeen | Expired) and _within(event.at, reaper.nats_cut):
            continue
        yield event if arrives == event.at else replace(event, at=arrives)
        if isinstance(event, LinkBack) and event.link is Link.NATS:
            yield from (replace(beat, at=arrives) for beat in newest.values())


def _within(at: float, spans: Iterable[Span]) -> bool:
    return any(start <= at < end for start, end in spans)


def _every(step_s: float, until_s: float) -> Iterator[float]:
    return (number * step_s for number in range(int(until_s / step_s) + 1))
