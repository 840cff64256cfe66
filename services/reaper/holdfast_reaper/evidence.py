"""What a reaper observes, and what it concludes: plain types, no rules. The rules are in ``detector``.

Every ``at`` is seconds of the reaper's own monotonic clock. Boots are compared, never read: whoever makes these events must use
one type for them everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class Link(StrEnum):
    """What the reaper itself is connected to."""

    NATS = "nats"
    POSTGRES = "postgres"


class Reason(StrEnum):
    """Which evidence convicts."""

    REPLACED = "replaced"
    GOODBYE = "goodbye"
    SILENT = "silent"
    LINKS_GONE = "links_gone"
    NEVER_SEEN = "never_seen"


@dataclass(frozen=True, slots=True)
class Beat:
    """The bucket showed a pod's key. ``revision`` is the key's; ``goodbye`` marks the deliberate last one.

    Re-delivery is harmless. What a watch that was given up still has in its queue should be dropped all the same.
    """

    at: float
    pod: str
    boot: UUID
    revision: int
    goodbye: bool = False


@dataclass(frozen=True, slots=True)
class Expired:
    """The key's TTL marker: a hint to look at once, never proof (a NATS outage expires every key)."""

    at: float
    pod: str


@dataclass(frozen=True, slots=True)
class Probe:
    """One round of looking at both links of a boot; ``at`` is when the round began.

    ``unanswered``: its ping subject answered "no responders". ``session_gone``: its advisory lock is free. What is not known
    (the ping timed out, the query failed, it was not asked) is False. Rounds further apart than ``probe_window_s`` prove nothing.
    """

    at: float
    pod: str
    boot: UUID
    unanswered: bool
    session_gone: bool


@dataclass(frozen=True, slots=True)
class Owners:
    """All owners, (pod, boot), that the record names now: the whole answer of a query that succeeded, never a part of it."""

    at: float
    owners: frozenset[tuple[str, UUID]]


@dataclass(frozen=True, slots=True)
class SelfSeen:
    """A new heartbeat of the reaper's own came back, through the watch that shows the pods' (a re-delivered one is none)."""

    at: float


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The reaper lost a link. Links count as whole until this is said of them."""

    at: float
    link: Link


@dataclass(frozen=True, slots=True)
class LinkBack:
    """The reaper has a link (again). Sight begins anew even when no loss was noticed."""

    at: float
    link: Link


Event = Beat | Expired | Probe | Owners | SelfSeen | LinkLost | LinkBack


@dataclass(frozen=True, slots=True)
class Death:
    """A boot is held dead, with the times that a log line needs.

    ``since`` is where the evidence begins: the replacement or goodbye, the first probe that found both links gone, or the start
    of the silence that was counted. ``last_change_at`` is None for a boot that the bucket never showed; ``replaced_by`` is set
    with ``REPLACED`` alone.
    """

    pod: str
    boot: UUID
    reason: Reason
    declared_at: float
    since: float
    last_change_at: float | None
    replaced_by: UUID | None = None
