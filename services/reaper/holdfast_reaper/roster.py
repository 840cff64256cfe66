"""What is known of each boot: the detector's memory. It keeps, the detector judges. Pure, like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from holdfast_reaper.evidence import Beat, Death, Expired, Owners, Probe

_FORGET_AFTER_TTLS = 12


@dataclass(slots=True)
class Boot:
    """One boot. Each beat makes a new one of these, and so wipes what spoke against the boot."""

    pod: str
    boot: UUID
    named_at: float | None = None  # since when the record names it as an owner
    changed_at: float | None = None  # None: never seen in the bucket
    revision: int = 0
    sight_breaks: int = 0  # of the reaper's sight, when `revision` was seen
    goodbye: bool = False
    expired: bool = False
    replaced_at: float | None = None
    replaced_by: UUID | None = None
    session_gone: bool = False
    links_gone_from: float | None = None  # the first of the unbroken series of probes that found both links gone
    links_gone_until: float = 0.0  # the last of them
    patience_s: float | None = None  # how long its silence has to last; None until that was asked
    declared: Death | None = None


class Roster:
    """All boots, by (pod, boot), and who holds each pod's key. Bounded: see :meth:`forget`."""

    def __init__(self, *, heartbeat_ttl_s: float, probe_window_s: float) -> None:
        self.boots: dict[tuple[str, UUID], Boot] = {}
        self._ttl_s = heartbeat_ttl_s
        self._window_s = probe_window_s
        self.holders: dict[str, Boot] = {}  # by pod: whose word is in the key
        self._forgot_at = float("-inf")

    def beat(self, beat: Beat, sight_breaks: int) -> Death | None:
        """A pod's key was seen; returns the declared death that this disproves, if it does."""
        holder = self.holders.get(beat.pod)
        if holder is not None:
            if self._is_stale(holder, beat, sight_breaks):
                return None
            if holder.boot != beat.boot:
                holder.replaced_at, holder.replaced_by = beat.at, beat.boot
        known = self.boots.get((beat.pod, beat.boot))
        boot = Boot(beat.pod, beat.boot, changed_at=beat.at, revision=beat.revision, goodbye=beat.goodbye)
        boot.sight_breaks = sight_breaks
        self.boots[beat.pod, beat.boot] = self.holders[beat.pod] = boot
        if known is None:
            return None
        boot.named_at, boot.session_gone = known.named_at, known.session_gone
        return None if beat.goodbye and known.goodbye else known.declared  # a goodbye said twice is no sign of life

    def _is_stale(self, holder: Boot, beat: Beat, sight_breaks: int) -> bool:
        """Whether a beat tells nothing new.

        The same revision again is a repeat. An older one does harm only where order matters: a replaced boot's would convict
        its successor, and one from before a goodbye would revive the boot. But a bucket that has lost its data starts its
        revisions over: so order holds only within one unbroken sight, and only while the holder's word is fresh.
        """
        if holder.boot == beat.boot and holder.revision == beat.revision:
            return True
        if holder.boot == beat.boot and not holder.goodbye:
            return False
        assert holder.changed_at is not None
        ordered = holder.sight_breaks == sight_breaks and beat.at - holder.changed_at < self._ttl_s
        return ordered and beat.revision <= holder.revision

    def expire(self, event: Expired) -> None:
        """The TTL marker of a pod's key was seen."""
        if event.pod in self.holders:
            self.holders[event.pod].expired = True

    def probe(self, probe: Probe) -> None:
        """A boot's links were looked at. A look that began before its last beat cannot speak against it."""
        boot = self.boots.get((probe.pod, probe.boot))
        if boot is None:
            return
        boot.session_gone = probe.session_gone
        if not (probe.unanswered and probe.session_gone):
            boot.links_gone_from = None
        elif boot.changed_at is None or probe.at > boot.changed_at:
            if boot.links_gone_from is None or probe.at - boot.links_gone_until > self._window_s:
                boot.links_gone_from = probe.at
            boot.links_gone_until = probe.at

    def name(self, event: Owners) -> None:
        """The record's owners, all of them."""
        for key, boot in list(self.boots.items()):
            if key not in event.owners:
                boot.named_at = None
                if boot.changed_at is None:
                    del self.boots[key]
        for key in sorted(event.owners):  # a set's own order differs between processes
            boot = self.boots.setdefault(key, Boot(*key))
            if boot.named_at is None:
                boot.named_at = event.at

    def void_absence(self) -> None:
        """Sight broke: what was inferred from absence goes. What a boot itself has said stays."""
        for boot in self.boots.values():
            boot.links_gone_from = boot.patience_s = None

    def forget(self, now: float) -> None:
        """Drop boots not heard for a dozen TTLs which the record does not name; looks at most once per TTL."""
        if now - self._forgot_at < self._ttl_s:
            return
        self._forgot_at = now
        for key, boot in list(self.boots.items()):
            heard_at = now if boot.changed_at is None else boot.changed_at
            if boot.named_at is None and now - heard_at >= _FORGET_AFTER_TTLS * self._ttl_s:
                del self.boots[key]
                if self.holders.get(boot.pod) is boot:
                    del self.holders[boot.pod]
