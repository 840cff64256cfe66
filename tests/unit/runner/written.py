"""A writer of events, its log, and what its owner would say in a snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from holdfast.runs import EventId, Lease, Owner
from holdfast_runner.event_writer import EventWriter
from tests.unit.runner.fake_log import FakeLog

RUN = UUID(int=1)


@dataclass
class Written:
    """Makes writers of one run's log, of attempt 2 if nothing else is said."""

    log: FakeLog
    boot: UUID = field(default_factory=uuid4)
    lost: list[str] = field(default_factory=list)
    snapshot: dict[str, Any] = field(default_factory=lambda: {"steps": [], "partial_text": "so far"})
    buffer_bytes_max: int = 1024 * 1024
    event_bytes_max: int = 1024 * 1024
    budget_s: float = 0.05

    def make(self, attempt: int = 2, boot: UUID | None = None) -> EventWriter:
        """A writer."""
        return EventWriter(
            self.log.client,
            Lease(RUN, Owner("pod", boot or self.boot), attempt),
            budget_s=self.budget_s,
            buffer_bytes_max=self.buffer_bytes_max,
            snapshot=lambda: self.snapshot,
            on_lost=self.lost.append,
            event_bytes_max=self.event_bytes_max,
        )

    def ids(self) -> list[str]:
        """The ids in the log."""
        return [str(event.id) for event in self.log.events]

    def types(self) -> list[str]:
        """The types in the log."""
        return [event.type for event in self.log.events]


def say(writer: EventWriter, text: str) -> EventId:
    """Emit text."""
    return writer.emit("text.delta", {"position": None, "text": text})
