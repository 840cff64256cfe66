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
from holdfast.bus.parts import Joining, Mark, Part
from holdfast.errors import BusUnavailable
from holdfast.runs import EventId
from holdfast.wire import events
from holdfast.wire.events import Event


@dataclass
class _Client:
    max_payload: int = 2 * 1024 * 1024


@dataclass
class FakeLog:
    """``away`` makes every call fail; ``lose_answers`` appends are carried out and fail; ``gate`` holds appends back.

    What ``before_append`` does comes before the next appends, one each, None for nothing.
    """

    messages: list[tuple[End, bytes]] = field(default_factory=list)
    away: bool = False
    lose_answers: int = 0
    explodes: Exception | None = None
    before_append: list[Callable[[], None] | None] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    appends: int = 0
    client: Client = field(default_factory=lambda: cast(Client, _Client()))
    _seq: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def install(self, monkeypatch: Any) -> None:
        """In place of the stream."""
        monkeypatch.setattr(event_log, "end", self.end)
        monkeypatch.setattr(event_log, "append_part", self.append_part)
        monkeypatch.setattr("holdfast_runner.fenced_log._RETRY_INTERVAL_S", 0.0)
        monkeypatch.setattr("holdfast_runner.event_writer._MEND_INTERVAL_S", 0.0)

    def write(
        self, event_id: EventId | None, boot: UUID | None, payload: bytes = b"", *, mark: Mark | None = None
    ) -> None:
        """A message of somebody else."""
        self._seq += 1
        self.messages.append((End(self._seq, event_id, str(boot or "-"), mark), payload))

    def vanish(self) -> None:
        """The server comes back without its data; other runs' messages were there too."""
        self.messages.clear()
        self._seq = 0

    @property
    def events(self) -> list[Event]:
        """All whole events, in order."""
        joining = Joining()
        wholes = [
            joining.take(end.seq, end.part.headers() if end.part is not None else None, payload)
            for end, payload in self.messages
        ]
        return [events.decode(frame) for whole in wholes if whole is not None for frame in events.split(whole)]

    async def end(self, client: Client, run_id: UUID, *, timeout_s: float = 2.0) -> End:
        """See ``event_log.end``."""
        await asyncio.sleep(0)
        if self.away:
            raise BusUnavailable("away")
        return self.messages[-1][0] if self.messages else EMPTY

    async def append_part(
        self,
        client: Client,
        run_id: UUID,
        part: Part,
        *,
        last_id: EventId | None,
        attempt: int,
        boot: UUID | None,
        expected_seq: int,
        timeout_s: float = 2.0,
    ) -> int:
        """See ``event_log.append_part``."""
        self.appends += 1
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.before_append and (act := self.before_append.pop(0)) is not None:
            act()
        if self.explodes is not None:
            raise self.explodes
        if self.away:
            raise BusUnavailable("away")
        if (self.messages[-1][0].seq if self.messages else 0) != expected_seq:
            raise event_log.Refused("wrong last sequence")
        assert len(part.payload) <= client.max_payload
        self.write(last_id, boot, part.payload, mark=part.mark)
        if self.lose_answers:
            self.lose_answers -= 1
            raise BusUnavailable("the answer was lost")
        return self._seq
