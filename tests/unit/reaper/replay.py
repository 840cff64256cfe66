"""Recorded traces: JSON files in ``traces/``, and the way back to events.

A file holds ``about`` (what was done to which system), ``events`` in the order in which the reaper observed them, ``deaths``
that a replay must find (pod, reason, and the seconds between which each has to be declared), and ``alive_again``, the pods
whose death a later beat disproves. An event is an object with its type's name under ``event`` and its fields beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from holdfast_reaper.detector import Beat, Event, Expired, Link, LinkBack, LinkLost, Owners, Probe, SelfSeen

TRACES = sorted((Path(__file__).parent / "traces").glob("*.json"))


@dataclass(frozen=True)
class ExpectedDeath:
    """A death that a replay must find, and when."""

    pod: str
    reason: str
    not_before_s: float
    not_after_s: float


@dataclass(frozen=True)
class Recording:
    """One file."""

    about: str
    events: tuple[Event, ...]
    deaths: tuple[ExpectedDeath, ...]
    alive_again: tuple[str, ...]


def load(path: Path) -> Recording:
    """Read one recording; a field or event that is not known is an error."""
    content = json.loads(path.read_text())
    return Recording(
        about=content["about"],
        events=tuple(_event(fields) for fields in content["events"]),
        deaths=tuple(ExpectedDeath(**death) for death in content["deaths"]),
        alive_again=tuple(content["alive_again"]),
    )


def _event(fields: dict[str, Any]) -> Event:
    kind = fields.pop("event")
    if "boot" in fields:
        fields["boot"] = UUID(fields["boot"])
    if "link" in fields:
        fields["link"] = Link(fields["link"])
    if "owners" in fields:
        fields["owners"] = frozenset((pod, UUID(boot)) for pod, boot in fields["owners"])
    return {each.__name__: each for each in (Beat, Expired, LinkBack, LinkLost, Owners, Probe, SelfSeen)}[kind](
        **fields
    )
