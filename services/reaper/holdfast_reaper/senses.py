"""Everything that the reaper observes passes through here on its way to the detector, stamped with the reaper's clock.

Owns the detector, the list of boots that are worth a look, and the wake-up for whoever waits for a verdict. Does no I/O and
decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from holdfast.errors import Terminal
from holdfast.settings import ReaperSettings
from holdfast_reaper.detector import Detector, DetectorSettings
from holdfast_reaper.evidence import (
    Beat,
    Death,
    Event,
    Expired,
    Link,
    LinkBack,
    LinkLost,
    Owners,
    Probe,
    SelfSeen,
)

Boot = tuple[str, UUID]
"""A pod's name and its boot."""


class Senses:
    """The detector, fed in the order in which things are observed."""

    def __init__(self, settings: ReaperSettings, *, clock: Callable[[], float]) -> None:
        """``clock`` is monotonic, in seconds.

        Raises:
            Terminal: the settings contradict each other.
        """
        try:
            self._detector = Detector(
                DetectorSettings(
                    heartbeat_interval_s=settings.heartbeat_interval_s,
                    heartbeat_ttl_s=settings.heartbeat_ttl_s,
                    probe_window_s=settings.probe_window_s,
                    probe_sessions=settings.probe_sessions,
                )
            )
        except ValueError as error:
            raise Terminal(str(error)) from error
        self._clock = clock
        self._holders: dict[str, UUID] = {}  # by pod: whose word the bucket holds now
        self._owners: frozenset[Boot] = frozenset()
        self.worth_judging = asyncio.Event()
        self.on_false_death: Callable[[Death], None] = lambda _: None
        self.on_event: Callable[[Event], None] = lambda _: None

    def now(self) -> float:
        """The reaper's clock."""
        return self._clock()

    def beat(self, pod: str, boot: UUID, revision: int, *, goodbye: bool) -> None:
        """The bucket shows a runner's key."""
        if goodbye:
            self._holders.pop(pod, None)
        else:
            replaced = self._holders.get(pod, boot) != boot
            self._holders[pod] = boot
            if replaced:
                self.worth_judging.set()
        if goodbye:
            self.worth_judging.set()
        self._observe(Beat(self.now(), pod, boot, revision, goodbye))

    def expired(self, pod: str) -> None:
        """The bucket shows that a key's time ran out."""
        self._holders.pop(pod, None)
        self._observe(Expired(self.now(), pod))

    def watch_begins(self) -> None:
        """A new watch shows the whole bucket again."""
        self._holders.clear()

    def self_seen(self) -> None:
        """A new heartbeat of this reaper came back through the watch."""
        self._observe(SelfSeen(self.now()))

    def link(self, link: Link, *, up: bool) -> None:
        """A link of this reaper went or came back."""
        self._observe(LinkBack(self.now(), link) if up else LinkLost(self.now(), link))

    def owners(self, owners: frozenset[Boot]) -> None:
        """All owners that the record names."""
        self._owners = owners
        self._observe(Owners(self.now(), owners))

    def probed(self, at: float, boot: Boot, *, unanswered: bool, session_gone: bool) -> None:
        """A round of looking at a boot's links, begun at ``at``, found this."""
        self._observe(Probe(at, *boot, unanswered=unanswered, session_gone=session_gone))

    def suspects(self) -> frozenset[Boot]:
        """The boots that the detector wants probed."""
        return frozenset(self._detector.suspects(self.now()))

    def worth_a_look(self) -> frozenset[Boot]:
        """The boots whose lock tells something: who is in the bucket, who owns runs, who is suspected."""
        return frozenset(self._holders.items()) | self._owners | self.suspects()

    def dead(self) -> tuple[Death, ...]:
        """Whom the detector holds dead now; nobody while it cannot see."""
        return self._detector.verdicts(self.now())

    def is_dead(self, boot: Boot) -> bool:
        """Whether it holds this boot dead now."""
        return any((death.pod, death.boot) == boot for death in self.dead())

    def problem(self) -> str:
        """What keeps the reaper from seeing, for readiness. (Sight that has only begun is none: it needs nothing but time.)"""
        return self._detector.problem(self.now())

    def why_blind(self) -> str:
        """Why nobody can be declared dead now; empty when somebody can."""
        return self._detector.why_blind(self.now())

    def _observe(self, event: Event) -> None:
        self.on_event(event)
        disproved = self._detector.observe(event)
        if disproved is not None:
            self.on_false_death(disproved)
