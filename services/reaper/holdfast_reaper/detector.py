"""Who is dead: a pure function of a trace.

Owns the rules by which a reaper holds a runner's boot dead. Knows no I/O, no clock and no asyncio: thin I/O feeds it what it
observes, in order, and asks for verdicts. The same trace gives the same verdicts, so what happened in a real system can be
replayed from a file (:func:`detect`). The rules, by the numbers that comments here use:

1. Another boot in its place under the same pod name, or its own goodbye: dead at once.
2. No change of its key for ``heartbeat_ttl_s`` of clear sight: dead.
3. Both its links gone in every probe for ``probe_window_s``, and a beat overdue: dead. One link alone proves nothing.
4. An owner that the record names and the bucket never showed: dead after ``heartbeat_ttl_s`` of clear sight.
5. A reaper that cannot see declares nobody dead. It can once its own heartbeat has come back through the bucket and its links
   have been whole for ``heartbeat_ttl_s`` without a break (``sight``). It starts blind.
6. When many boots fall silent within one TTL, the bucket is more likely at fault than they: rule 2 waits a second TTL.
7. Dead is what the evidence says now: a boot that beats again is alive again, and :meth:`Detector.observe` tells of it.
8. Boots that are gone and that the record does not name are forgotten, so memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

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
    Reason,
    SelfSeen,
)
from holdfast_reaper.roster import Boot, Roster
from holdfast_reaper.sight import BLIND_INTERVALS, Sight

if TYPE_CHECKING:
    from uuid import UUID

__all__ = [
    "Beat",
    "Death",
    "Detector",
    "DetectorSettings",
    "Event",
    "Expired",
    "Link",
    "LinkBack",
    "LinkLost",
    "Owners",
    "Probe",
    "Reason",
    "SelfSeen",
    "detect",
]

_LATE_INTERVALS = 1.5
_MANY_BOOTS_MIN = 3


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Times in seconds. Without ``probe_sessions`` (none are to be had behind a transaction pooler) rule 3 is off."""

    heartbeat_interval_s: float = 1.0
    heartbeat_ttl_s: float = 5.0
    probe_window_s: float = 1.0
    probe_sessions: bool = True

    def __post_init__(self) -> None:
        if self.heartbeat_interval_s <= 0 or self.probe_window_s <= 0:
            raise ValueError("heartbeat_interval_s and probe_window_s must be above 0")
        if self.heartbeat_ttl_s < BLIND_INTERVALS * self.heartbeat_interval_s:
            raise ValueError(f"heartbeat_ttl_s must be at least {BLIND_INTERVALS} times heartbeat_interval_s")


class Detector:
    """Holds what was observed, and judges it. A beat costs O(1), a verdict O(boots)."""

    def __init__(self, settings: DetectorSettings) -> None:
        self._settings = settings
        self._ttl_s = settings.heartbeat_ttl_s
        self._late_after_s = _LATE_INTERVALS * settings.heartbeat_interval_s
        self._sight = Sight(
            heartbeat_interval_s=settings.heartbeat_interval_s, heartbeat_ttl_s=settings.heartbeat_ttl_s
        )
        self._roster = Roster(heartbeat_ttl_s=settings.heartbeat_ttl_s, probe_window_s=settings.probe_window_s)

    def observe(self, event: Event) -> Death | None:
        """Take in one event.

        Returns:
            The declared death that this event disproves, if it does (the boot beats again): a false death, to be counted.
        """
        self._roster.forget(event.at)
        breaks, disproved = self._sight.breaks, None
        match event:
            case Beat():
                disproved = self._roster.beat(event, breaks)
            case Probe():
                self._roster.probe(event)
            case Expired():
                self._roster.expire(event)
            case Owners():
                self._roster.name(event)
            case SelfSeen(at=at):
                self._sight.see_self(at)
            case LinkLost(link=link):
                self._sight.lose(link)
            case LinkBack(link=link):
                self._sight.regain(link)
            case _:
                assert_never(event)
        if self._sight.breaks != breaks:
            self._roster.void_absence()
        return disproved

    def verdicts(self, now: float) -> tuple[Death, ...]:
        """All boots that are held dead now, the same ones each time until they are forgotten; none while blind."""
        if not self.can_see(now):
            return ()
        self._grant_patience(now)
        return tuple(death for boot in self._roster.boots.values() if (death := self._judge(boot, now)) is not None)

    def suspects(self, now: float) -> tuple[tuple[str, UUID], ...]:
        """The boots, (pod, boot), that are worth a probe now. A dead one is among them until it is replaced or forgotten."""
        if not self._settings.probe_sessions:
            return ()
        return tuple(key for key, boot in self._roster.boots.items() if self._is_suspect(boot, now))

    def can_see(self, now: float) -> bool:
        """Whether a death may be declared now."""
        return not self.why_blind(now)

    def problem(self, now: float) -> str:
        """What keeps the reaper from seeing, other than that it has only begun to; for readiness."""
        return self._sight.problem(now)

    def why_blind(self, now: float) -> str:
        """Why no death may be declared now; empty when one may."""
        return self._sight.why_blind(now)

    def _is_suspect(self, boot: Boot, now: float) -> bool:
        if boot.changed_at is None:
            return True
        if boot.goodbye or boot.replaced_at is not None:
            return False
        return boot.session_gone or boot.expired or self._is_late(boot.changed_at, now)

    def _is_late(self, changed_at: float, now: float) -> bool:
        return now - changed_at > self._late_after_s

    def _silence_s(self, heard_at: float, now: float) -> float:
        return now - self._sight.counted_from(heard_at)

    def _grant_patience(self, now: float) -> None:
        """Rule 6, asked once per silence, when it reaches one TTL, so that a verdict does not flicker as others come and go.

        Many: of the boots last heard no earlier than a TTL before this one, at least half, and three, are quiet now and were
        last heard no later than a TTL after it. So boots that had died before count on neither side.
        """
        heard = [
            (boot.changed_at, boot)
            for boot in self._roster.boots.values()
            if boot.changed_at is not None and boot.replaced_at is None and not boot.goodbye
        ]
        if not any(boot.patience_s is None and self._silence_s(at, now) >= self._ttl_s for at, boot in heard):
            return
        heard.sort(key=lambda each: each[0])
        first = end = 0  # heard[first:end] fell silent together with the boot at hand; both only grow
        for changed_at, boot in heard:
            if self._silence_s(changed_at, now) < self._ttl_s:
                break
            while heard[first][0] < changed_at - self._ttl_s:
                first += 1
            latest = min(changed_at + self._ttl_s, now - self._sight.blind_after_s)
            while end < len(heard) and heard[end][0] <= latest:
                end += 1
            if boot.patience_s is None:
                many = end - first >= max(_MANY_BOOTS_MIN, (len(heard) - first) / 2)
                boot.patience_s = 2 * self._ttl_s if many else self._ttl_s

    def _judge(self, boot: Boot, now: float) -> Death | None:
        evidence = self._evidence(boot, now)
        if evidence is None:
            return None
        reason, since = evidence
        if boot.declared is None or (boot.declared.reason, boot.declared.since) != evidence:
            boot.declared = Death(boot.pod, boot.boot, reason, now, since, boot.changed_at, boot.replaced_by)
        return boot.declared

    def _evidence(self, boot: Boot, now: float) -> tuple[Reason, float] | None:
        """What convicts a boot, and from when on; the most telling first."""
        changed_at, gone_from = boot.changed_at, boot.links_gone_from
        if boot.replaced_at is not None:
            return Reason.REPLACED, boot.replaced_at
        if boot.goodbye and changed_at is not None:
            return Reason.GOODBYE, changed_at
        if (
            gone_from is not None
            and boot.links_gone_until - gone_from >= self._settings.probe_window_s
            and (changed_at is None or self._is_late(changed_at, now))
            and self._settings.probe_sessions
        ):
            return Reason.LINKS_GONE, gone_from
        if changed_at is not None:
            silent = self._silence_s(changed_at, now) >= (boot.patience_s or self._ttl_s)
            return (Reason.SILENT, self._sight.counted_from(changed_at)) if silent else None
        assert boot.named_at is not None
        unseen = self._silence_s(boot.named_at, now) >= self._ttl_s
        return (Reason.NEVER_SEEN, self._sight.counted_from(boot.named_at)) if unseen else None


def detect(trace: Iterable[Event], settings: DetectorSettings) -> list[Death]:
    """Replay a trace, asking for verdicts just before and just after each event: the most impatient caller there can be.

    Returns:
        The deaths in the order in which they were declared. A boot that was declared, beat again and was declared again is
        there twice.
    """
    detector = Detector(settings)
    held: set[tuple[str, UUID]] = set()
    deaths: list[Death] = []

    def ask(now: float) -> None:
        for death in detector.verdicts(now):
            if (death.pod, death.boot) not in held:
                held.add((death.pod, death.boot))
                deaths.append(death)

    for event in trace:
        ask(event.at)
        if (disproved := detector.observe(event)) is not None:
            held.discard((disproved.pod, disproved.boot))
        ask(event.at)
    return deaths
