"""An event log and a record in memory, as gateways see them: slow, at times away, stale or deaf. No servers.

The log is a NATS client as far as gateways use one: subscriptions, direct-get batches, the last message of a subject.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID

from nats.js.errors import NotFoundError

from holdfast.bus import names
from holdfast.bus.parts import split
from holdfast.errors import BusUnavailable, StoreUnavailable
from holdfast.store import TailRow
from holdfast.wire import events
from holdfast_gateway.picture import Picture
from holdfast_gateway.polling import Polls
from holdfast_gateway.tails import Tails
from tests.unit.gateway.run_history import RUN, Act, Append, Commit, Lose

Hear = Callable[[Any], None]


@dataclass(frozen=True)
class Message:
    """As the client library shows one."""

    data: bytes
    headers: Mapping[str, str]
    seq: int = 0

    @property
    def is_whole(self) -> bool:
        """Is it no part of an event, or the last one?"""
        number, _, count = self.headers.get(names.PART_HEADER, "").partition("/")
        return number == count


class Subscription:
    """Delivers to ``hear`` one after the other, or to whoever iterates ``messages``."""

    def __init__(self, system: FakeSystem, hear: Hear | None) -> None:
        self._system = system
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.create_task(self._deliver(hear), name="fake-subscription") if hear is not None else None

    def put(self, message: Message) -> None:
        self._queue.put_nowait(message)

    async def _deliver(self, hear: Hear) -> None:
        async for message in self.messages:
            await self._system.pause()
            hear(message)

    @property
    async def messages(self) -> AsyncIterator[Message]:
        while True:
            yield await self._queue.get()

    async def unsubscribe(self) -> None:
        if self in self._system.live:
            self._system.live.remove(self)
        if self._task is not None:
            self._task.cancel()


@dataclass(frozen=True)
class FakeGateway:
    """What of a gateway serves those who follow."""

    tails: Tails
    polls: Polls


class FakeSystem:
    """Log and record of one run. Whatever can be slow or fail does so by ``chance``."""

    max_payload = 1024 * 1024

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.live: list[Subscription] = []  # not a set: the same seed is to give the same run
        self._inboxes: dict[str, Subscription] = {}
        self._messages: list[Message] = []
        self._last_seq = self._previous = 0
        self._last_id: str | None = None
        self._picture: Picture | None = None
        self._answers: set[asyncio.Task[None]] = set()

    async def pause(self) -> None:
        """A little while, or none."""
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.choice((0, 0.001, 0.003, 0.02)))

    # -- the run -----------------------------------------------------------------------------------------------------

    def act(self, act: Act) -> None:
        """One act of a run's history."""
        match act:
            case Commit(picture):
                self._picture = picture
            case Append(frame):
                self._append(frame)
            case Lose():
                self._lose(act)

    def _append(self, frames: bytes) -> None:
        event_id = max(events.frame_id(one) for one in events.split(frames))
        size_max = 30 if self.chance.random() < 0.1 else self.max_payload
        for part in split(frames, event_id, size_max):
            self._last_id = str(event_id) if part.is_final else self._last_id
            headers = part.mark.headers() if part.mark is not None else {}
            if self._last_id is not None:
                headers[names.LAST_HEADER] = self._last_id
            self._publish(part.payload, {**headers, names.ATTEMPT_HEADER: str(event_id.attempt)})

    def _publish(self, payload: bytes, headers: dict[str, str]) -> None:
        self._last_seq += self.chance.choice((1, 1, 4))  # other runs' messages come between
        of_server = {"Nats-Sequence": str(self._last_seq), "Nats-Last-Sequence": str(self._previous)}
        message = Message(payload, {**headers, **of_server}, self._last_seq)
        self._previous = self._last_seq
        self._messages.append(message)
        for subscription in self.live:
            if self.chance.random() > 0.1:
                subscription.put(message)

    def _lose(self, what: Lose) -> None:
        if what.everything:
            self._messages, self._last_seq, self._previous, self._last_id = [], 0, 0, None
            return
        del self._messages[: min(what.first, len(self._messages) - 1)]  # a log without an end is seen to by its owner
        for _ in range(what.last):
            while self._messages and not self._messages.pop().is_whole:
                pass
            while self._messages and not self._messages[-1].is_whole:
                self._messages.pop()
        if what.last:
            self._previous = self._messages[-1].seq if self._messages else 0
            self._last_id = self._messages[-1].headers[names.LAST_HEADER] if self._messages else None
        if what.at is not None and what.at < len(self._messages) - 1:
            del self._messages[what.at]

    # -- the client --------------------------------------------------------------------------------------------------

    def new_inbox(self) -> str:
        return f"_INBOX.{self.chance.random()}"

    async def subscribe(self, subject: str, **_: Any) -> Subscription:
        self._inboxes[subject] = Subscription(self, None)
        return self._inboxes[subject]

    async def hear(self, _client: object, subject: str, hear: Hear) -> Subscription:
        """See ``holdfast.bus.hearing``."""
        subscription = Subscription(self, hear)
        if subject == names.live_subject(RUN):
            self.live.append(subscription)
        else:
            self._inboxes[subject] = subscription
        return subscription

    async def publish(self, _: str, payload: bytes, *, reply: str) -> None:
        """A request for a batch, or for the log's last message."""
        request, inbox = json.loads(payload), self._inboxes.pop(reply)
        answers = self._answer_last if "multi_last" in request else self._answer
        answer = asyncio.create_task(answers(request["seq"], inbox))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, from_seq: int, inbox: Subscription) -> None:
        await self.pause()
        if self.chance.random() < 0.02:
            return  # nobody answers
        found = [message for message in self._messages if message.seq >= from_seq]
        if self.chance.random() < 0.1:
            del found[-2:]  # a replica that is behind
        for message in found:
            inbox.put(message)
            if self.chance.random() < 0.1:
                await self.pause()
        inbox.put(Message(b"", {"Status": "204" if found else "404", "Nats-Num-Pending": "0"}))

    async def _answer_last(self, from_seq: int, inbox: Subscription) -> None:
        await self.pause()
        if self.chance.random() < 0.02:
            return
        kept = self._messages[: -2 if self.chance.random() < 0.1 else None]  # a replica may be behind
        if kept and kept[-1].seq >= from_seq:
            last = {"Nats-Subject": names.events_subject(RUN), "Nats-Sequence": str(kept[-1].seq)}
            inbox.put(Message(kept[-1].data, last))
        upto = {"Nats-UpTo-Sequence": str(kept[-1].seq), "Nats-Num-Pending": "0"} if kept else {}
        inbox.put(Message(b"", {"Status": "204" if kept else "404", **upto}))

    def jetstream(self, **_: Any) -> FakeSystem:
        return self

    async def get_last_msg(self, *_: str) -> Message:
        await self.pause()
        if self.chance.random() < 0.05:
            raise BusUnavailable("away")
        if not self._messages:
            raise NotFoundError(code=404, err_code=10037)
        return self._messages[-1]

    async def get_msg(self, _: str, seq: int, subject: str, *, next: bool) -> Message:
        """The next message of the run, as the stream's leader has it."""
        assert subject.endswith(str(RUN))
        assert next
        await self.pause()
        if self.chance.random() < 0.05:
            raise BusUnavailable("away")
        for message in self._messages:
            if message.seq >= seq:
                return message
        raise NotFoundError(code=404, err_code=10037)

    # -- the record --------------------------------------------------------------------------------------------------

    async def take_picture(self, *_: Any) -> Picture:
        """The run as it was at some moment of the reading."""
        await self.pause()
        picture = self._picture
        await self.pause()
        if self.chance.random() < 0.05:
            raise StoreUnavailable("away")
        assert picture is not None
        return picture

    async def rows(self, _: object, run_ids: Sequence[UUID]) -> dict[UUID, TailRow]:
        row = (await self.take_picture()).run
        return {run_id: row for run_id in run_ids if run_id == row.id}

    # -- gateways ----------------------------------------------------------------------------------------------------

    def gateway(self, *, queue_bytes_max: int) -> FakeGateway:
        """A gateway of this system."""
        settings = cast(Any, SimpleNamespace(keepalive_interval_s=10.0, viewer_queue_bytes_max=queue_bytes_max))
        tails = Tails(cast(Any, None), cast(Any, SimpleNamespace(client=self)), settings)
        return FakeGateway(tails, Polls(tails, settings, asyncio.Event()))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Gateways read this record instead of a real one."""
        with (
            patch("holdfast_gateway.tail.hearing.hear", self.hear),
            patch("holdfast.bus.log_ends.hear", self.hear),
            patch("holdfast_gateway.tails.take_picture", self.take_picture),
            patch("holdfast_gateway.tails.caller", SimpleNamespace(tails=self.rows)),
        ):
            yield
