"""An event log in memory that behaves as the stream does, and fails when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

from nats.aio.client import Client

from holdfast.bus import event_log
from holdfast.bus.event_log import EMPTY, End
from holdfast.errors import BusUnavailable
from holdfast.runs import EventId
from holdfast.wire import events
from holdfast.wire.events import Event


class _Client:
    max_payload = 2 * 1024 * 1024


@dataclass
class FakeLog:
    """``away`` makes every call fail; ``lose_answers`` appends are carried out and fail; ``gate`` holds appends back."""

    messages: list[tuple[End, bytes]] = field(default_factory=list)
    away: bool = False
    lose_answers: int = 0
    explodes: Exception | None = None
    before_append: list[Callable[[], None]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    appends: int = 0
    client: Client = field(default_factory=lambda: cast(Client, _Client()))
    _seq: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def install(self, monkeypatch: Any) -> None:
        """In place of the stream."""
        monkeypatch.setattr(event_log, "end", self.end)
        monkeypatch.setattr(event_log, "append", self.append)
        monkeypatch.setattr("holdfast_runner.fenced_log._RETRY_INTERVAL_S", 0.0)
        monkeypatch.setattr("holdfast_runner.event_writer._MEND_INTERVAL_S", 0.0)

    def write(self, event_id: EventId, boot: UUID | None, payload: bytes = b"") -> None:
        """A message of somebody else."""
        self._seq += 1
        self.messages.append((End(self._seq, event_id, str(boot or "-")), payload))

    def vanish(self) -> None:
        """The server comes back without its data; other runs' messages were there too."""
        self.messages.clear()
        self._seq = 0

    @property
    def events(self) -> list[Event]:
        """All events, in order."""
        return [events.decode(frame) for _, payload in self.messages for frame in events.split(payload)]

    async def end(self, client: Client, run_id: UUID, *, timeout_s: float = 2.0) -> End:
        """See ``event_log.end``."""
        await asyncio.sleep(0)
        if self.away:
            raise BusUnavailable("away")
        return self.messages[-1][0] if self.messages else EMPTY

    async def append(
        self, client: Client, run_id: UUID, payload: bytes, *, last_id: EventId, boot: UUID | None, expected_seq: int
    ) -> int:
        """See ``event_log.append``."""
        self.appends += 1
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.before_append:
            self.before_append.pop(0)()
        if self.explodes is not None:
            raise self.explodes
        if self.away:
            raise BusUnavailable("away")
        if (self.messages[-1][0].seq if self.messages else 0) != expected_seq:
            raise event_log.Refused("wrong last sequence")
        self.write(last_id, boot, payload)
        if self.lose_answers:
            self.lose_answers -= 1
            raise BusUnavailable("the answer was lost")
        return self._seq
