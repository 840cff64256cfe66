"""The event log: fenced appends, its end, and reading it in batches, without a consumer per reader.

Every append names the stream sequence that its writer believes to be the subject's last; the server refuses any other. What is
too large for a message is appended in parts (:mod:`holdfast.bus.parts`), one after the other, and read as the whole that it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from holdfast.bus import names
from holdfast.bus.connection import translated
from holdfast.bus.parts import Joining, Mark, Part, split
from holdfast.bus.publishing import publish
from holdfast.errors import BusUnavailable, HoldfastError
from holdfast.runs import EventId
from holdfast.wire import events

_WRONG_SEQUENCE = frozenset({10071, 10164})  # "wrong last sequence", in its two forms
_BATCH_BYTES_MAX = 1024 * 1024  # what a reader holds at once
_ANSWERS_BYTES_MAX = 32 * 1024 * 1024  # on their way to one connection: the server cuts it off when 64 MiB wait for it
_HEADERS_BYTES_MAX = 4096  # the server counts them into a message's size
_TURN_PATIENCE_S = 30.0
_TELL_TRIES_MAX = 50
_DIRECT_GET = f"$JS.API.DIRECT.GET.{names.EVENTS_STREAM}"


class Refused(HoldfastError):
    """An append expected another end of the log than it has."""


@dataclass(frozen=True, slots=True)
class End:
    """The last message of a run's log. ``seq`` 0: there is none.

    ``last_id`` is the last event that is there as a whole. ``part`` is set while the message is a part of what comes behind it.
    """

    seq: int
    last_id: EventId | None
    boot: str | None
    part: Mark | None = None

    @property
    def attempt(self) -> int | None:
        """The attempt of whoever wrote the message. None: there is none, or it does not say."""
        if self.part is not None:
            return self.part.event_id.attempt
        return self.last_id.attempt if self.last_id is not None else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One or more frames that were appended together; ``seq`` is the place of the message, or of the last of its parts."""

    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class _Message:
    """As the stream has it."""

    seq: int
    headers: Mapping[str, str]
    payload: bytes


EMPTY = End(0, None, None)
_places: WeakKeyDictionary[Client, asyncio.Semaphore] = WeakKeyDictionary()


def last_id_of(headers: Mapping[str, str] | None) -> EventId | None:
    """The last event that is in the log as a whole with this message, as its writer has said."""
    said = (headers or {}).get(names.LAST_HEADER)
    return EventId.parse(said) if said else None


def message_bytes_max(client: Client) -> int:
    """What one message holds of events; what is larger is split."""
    bytes_max = client.max_payload
    return bytes_max - _HEADERS_BYTES_MAX if bytes_max > 2 * _HEADERS_BYTES_MAX else bytes_max // 2


async def end(client: Client, run_id: UUID, *, timeout_s: float = 2.0) -> End:
    """The end of a run's log, asked of the stream's leader (a direct get may be stale).

    Raises:
        BusUnavailable: the server did not answer.
    """
    context = client.jetstream(timeout=timeout_s)
    with translated():
        try:
            message = await context.get_last_msg(names.EVENTS_STREAM, names.events_subject(run_id))
        except NotFoundError as error:
            if error.err_code == 10059:  # the stream itself is missing
                raise BusUnavailable("the event stream does not exist (yet)") from error
            return EMPTY
    assert message.seq is not None
    headers = message.headers or {}
    return End(message.seq, last_id_of(headers), headers.get(names.BOOT_HEADER), Mark.of(headers))


async def next_seq(client: Client, run_id: UUID, after_seq: int, *, timeout_s: float = 2.0) -> int | None:
    """Where a run's log goes on behind a stream sequence, asked of the stream's leader; None: it does not.

    Raises:
        BusUnavailable: the server did not answer.
    """
    context = client.jetstream(timeout=timeout_s)
    with translated():
        try:
            message = await context.get_msg(
                names.EVENTS_STREAM, after_seq + 1, subject=names.events_subject(run_id), next=True
            )
        except NotFoundError:
            return None
    return message.seq


async def append(
    client: Client,
    run_id: UUID,
    payload: bytes,
    *,
    last_id: EventId,
    boot: UUID | None,
    expected_seq: int,
    before: EventId | None = None,
    timeout_s: float = 2.0,
) -> int:
    """Append frames, the last of them ``last_id``, at the end that the writer believes in. Returns the stream sequence.

    What is too large for a message goes in parts; after an error some of them may be there, which readers drop. ``before`` is the
    last event before these, if any, and ``timeout_s`` is for each part.

    Raises:
        Refused: the log's end is another one.
        BusUnavailable: the outcome is not known.
    """
    for part in split(payload, last_id, message_bytes_max(client)):
        expected_seq = await append_part(
            client,
            run_id,
            part,
            last_id=last_id if part.is_final else before,
            attempt=last_id.attempt,
            boot=boot,
            expected_seq=expected_seq,
            timeout_s=timeout_s,
        )
    return expected_seq


async def append_part(
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
    """Append one message. ``last_id`` is the last event that is whole in the log with it. Returns the stream sequence.

    Raises:
        Refused: the log's end is another one.
        BusUnavailable: the outcome is not known.
    """
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(expected_seq),
        names.ATTEMPT_HEADER: str(attempt),
        names.BOOT_HEADER: str(boot or "-"),
    }
    if last_id is not None:
        headers[names.LAST_HEADER] = str(last_id)
    if part.mark is not None:
        headers |= part.mark.headers()
    with translated():
        try:
            return await publish(
                client, names.events_subject(run_id), part.payload, headers=headers, timeout_s=timeout_s
            )
        except APIError as error:
            if error.err_code in _WRONG_SEQUENCE:
                raise Refused(str(error)) from error
            raise


async def tell(client: Client, run_id: UUID, event_id: EventId, event_type: str, data: Mapping[str, Any]) -> None:
    """Append one event of somebody who is not the owner, whose attempt number is its own. At most once in the log.

    Raises:
        BusUnavailable: not told, or not known to be; tails make a terminal event from the record then.
    """
    payload = events.frame(event_id, event_type, data)
    for _ in range(_TELL_TRIES_MAX):
        last = await end(client, run_id)
        if last.last_id is not None and last.last_id >= event_id:
            return
        if last.attempt is not None and last.attempt > event_id.attempt:
            return  # the run has gone on, with an event that is not all there yet: this one came too late
        try:
            await append(
                client, run_id, payload, last_id=event_id, boot=None, expected_seq=last.seq, before=last.last_id
            )
        except Refused:
            continue  # a zombie's last word, or a part of it, came between: read again
        return
    raise BusUnavailable(f"the end of run {run_id}'s log would not hold still")


async def read(client: Client, run_id: UUID, after_seq: int, *, timeout_s: float = 2.0) -> AsyncIterator[Entry]:
    """The log after a stream sequence, to its end, by direct-get batches. An event that is not all there is left out.

    A server that says nothing for ``timeout_s`` is given up: it may be a frozen replica, and another one is asked next time.

    Raises:
        BusUnavailable: the server did not answer.
    """
    async for entry in Reading(run_id, after_seq).to_the_end(client, timeout_s=timeout_s):
        yield entry


class Reading:
    """A run's log, read from a place on, as often as asked for; messages that were heard may be taken in between, in order.

    That also while a read is under way. See :class:`holdfast.bus.parts.Joining` for the two places, ``at`` and ``seq``.
    """

    def __init__(self, run_id: UUID, after_seq: int = 0) -> None:
        self._run_id = run_id
        self._joining = Joining(after_seq)

    @property
    def at(self) -> int:
        """The newest message that was read or taken, parts of an unfinished event included."""
        return self._joining.at

    @property
    def seq(self) -> int:
        """The newest message behind which another reader may begin."""
        return self._joining.seq

    def take(self, seq: int, headers: Mapping[str, str] | None, payload: bytes) -> Entry | None:
        """The next message of the log. None: it makes nothing whole."""
        whole = self._joining.take(seq, headers, payload)
        return Entry(seq, whole) if whole is not None else None

    async def to_the_end(self, client: Client, *, timeout_s: float = 2.0) -> AsyncIterator[Entry]:
        """What follows, to the log's end as of now. See :func:`read`.

        Raises:
            BusUnavailable: the server did not answer.
        """
        while True:
            messages, more = await _batch(client, self._run_id, self.at, timeout_s)
            for message in messages:
                if message.seq <= self.at:  # heard meanwhile
                    continue
                entry = self.take(message.seq, message.headers, message.payload)
                if entry is not None:
                    yield entry
            if not more:
                return


def _place_to_read(client: Client) -> asyncio.Semaphore:
    """Of those who read over one connection, so many at once as it can take; a crowd that comes back at one time takes turns."""
    places = _places.get(client)
    if places is None:
        at_once_max = max(_ANSWERS_BYTES_MAX // (_BATCH_BYTES_MAX + client.max_payload), 1)
        places = _places[client] = asyncio.Semaphore(at_once_max)
    return places


async def _batch(client: Client, run_id: UUID, after_seq: int, timeout_s: float) -> tuple[list[_Message], bool]:
    """One batch, and whether there is more; ``timeout_s`` begins when it is this one's turn, and anew with each message."""
    place = _place_to_read(client)
    with translated():
        async with asyncio.timeout(_TURN_PATIENCE_S):
            await place.acquire()
    try:
        return await _ask_for_batch(client, run_id, after_seq, timeout_s)
    finally:
        place.release()


async def _ask_for_batch(client: Client, run_id: UUID, after_seq: int, timeout_s: float) -> tuple[list[_Message], bool]:
    """The server ends a batch with a status 204 and says how many are left."""
    request = {
        "next_by_subj": names.events_subject(run_id),
        "seq": after_seq + 1,
        "batch": 256,
        "max_bytes": _BATCH_BYTES_MAX,
    }
    found: list[_Message] = []
    inbox = client.new_inbox()
    with translated():
        subscription = await client.subscribe(inbox, pending_bytes_limit=-1)
        try:
            await client.publish(_DIRECT_GET, json.dumps(request).encode(), reply=inbox)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(timeout_s) as silent:
                async for message in subscription.messages:
                    silent.reschedule(loop.time() + timeout_s)
                    headers = message.headers or {}
                    status = headers.get("Status")
                    if status is None:
                        found.append(_Message(int(headers["Nats-Sequence"]), headers, message.data))
                    elif status == "204":
                        return found, int(headers.get("Nats-Num-Pending", "0")) > 0 and bool(found)
                    elif status == "404":
                        return found, False
                    else:
                        raise BusUnavailable(f"the event log answered {status}")
        finally:
            await subscription.unsubscribe()
    return found, False
