"""Whether the reaper can see: rule 5 of the detector. Pure, like it; times are seconds of the reaper's monotonic clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast_reaper.evidence import Link

BLIND_INTERVALS = 2


class Sight:
    """Clear sight: both links whole, and the reaper's own heartbeat coming back through the bucket.

    It breaks when a link is lost and at a gap between own heartbeats (the reaper was paused, its loop stalled, the bucket had no
    leader), and starts over with the next own heartbeat. Links count as whole until one is said to be lost.
    """

    def __init__(self, *, heartbeat_interval_s: float, heartbeat_ttl_s: float) -> None:
        self.blind_after_s = BLIND_INTERVALS * heartbeat_interval_s
        self.breaks = 0  # grows with each break, so that what was seen before one can be told from what was seen after
        self._settle_s = heartbeat_ttl_s
        self._since: float | None = None
        self._self_seen_at: float | None = None
        self._lost: set[Link] = set()

    def see_self(self, at: float) -> None:
        """The reaper's own heartbeat came back."""
        if self._self_seen_at is not None and at - self._self_seen_at > self.blind_after_s:
            self._break()
        self._self_seen_at = at
        if self._since is None:
            self._since = at

    def lose(self, link: Link) -> None:
        """A link of the reaper's is gone: blind until it is back, and from there sight starts over."""
        self._lost.add(link)

    def regain(self, link: Link) -> None:
        """A link is there, perhaps after a loss that nobody noticed."""
        self._lost.discard(link)
        self._break()

    def counted_from(self, at: float) -> float:
        """Where an absence that began at ``at`` begins to count: not before the sight. Infinity while there is none."""
        return float("inf") if self._since is None else max(at, self._since)

    def why_blind(self, now: float) -> str:
        """Why no death may be declared now; empty when one may."""
        problem = self.problem(now)
        if problem or self._since is None:
            return problem
        if now - self._since < self._settle_s:
            return f"clear sight for {now - self._since:.1f} s of {self._settle_s:g} s"
        return ""

    def problem(self, now: float) -> str:
        """What keeps the reaper from seeing, other than that it has only begun to; empty when nothing does."""
        if self._lost:
            return f"link lost: {', '.join(sorted(self._lost))}"
        if self._self_seen_at is None or self._since is None:
            return "own heartbeat not seen in the bucket yet"
        if now - self._self_seen_at > self.blind_after_s:
            return f"own heartbeat last seen {now - self._self_seen_at:.1f} s ago"
        return ""

    def _break(self) -> None:
        self._self_seen_at = self._since = None
        self.breaks += 1
