"""The event log: fenced appends, its end, and reading it in batches, without a consumer per reader.

Every append names the stream sequence that its writer believes to be the subject's last; the server refuses any other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from holdfast.bus import names
from holdfast.bus.connection import translated
from holdfast.errors import BusUnavailable, HoldfastError
from holdfast.runs import EventId
from holdfast.wire import events

_WRONG_SEQUENCE = frozenset({10071, 10164})  # "wrong last sequence", in its two forms
_BATCH_BYTES_MAX = 1024 * 1024  # what a reader holds at once
_DIRECT_GET = f"$JS.API.DIRECT.GET.{names.EVENTS_STREAM}"


class Refused(HoldfastError):
    """An append expected another end of the log than it has."""


@dataclass(frozen=True, slots=True)
class End:
    """The last message of a run's log. ``seq`` 0: there is none."""

    seq: int
    last_id: EventId | None
    boot: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the log: one or more frames."""

    seq: int
    payload: bytes


EMPTY = End(0, None, None)


def _end(seq: int, headers: Mapping[str, str] | None) -> End:
    last_id = (headers or {}).get(names.LAST_HEADER)
    return End(seq, EventId.parse(last_id) if last_id else None, (headers or {}).get(names.BOOT_HEADER))


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
    return _end(message.seq, message.headers)


async def append(
    client: Client,
    run_id: UUID,
    payload: bytes,
    *,
    last_id: EventId,
    boot: UUID | None,
    expected_seq: int,
    timeout_s: float = 2.0,
) -> int:
    """Append frames, the last of them ``last_id``, at the end that the writer believes in. Returns the stream sequence.

    Raises:
        Refused: the log's end is another one.
        BusUnavailable: the outcome is not known.
    """
    headers = {
        "Nats-Expected-Last-Subject-Sequence": str(expected_seq),
        names.ATTEMPT_HEADER: str(last_id.attempt),
        names.LAST_HEADER: str(last_id),
        names.BOOT_HEADER: str(boot or "-"),
    }
    context = client.jetstream(timeout=timeout_s)
    with translated():
        try:
            ack = await context.publish(names.events_subject(run_id), payload, headers=headers)
        except APIError as error:
            if error.err_code in _WRONG_SEQUENCE:
                raise Refused(str(error)) from error
            raise
    return ack.seq


async def tell(client: Client, run_id: UUID, event_id: EventId, event_type: str, data: Mapping[str, Any]) -> None:
    """Append one event of somebody who is not the owner, whose attempt number is its own. At most once in the log.

    Raises:
        BusUnavailable: not told, or not known to be; tails make a terminal event from the record then.
    """
    payload = events.frame(event_id, event_type, data)
    for _ in range(10):
        last = await end(client, run_id)
        if last.last_id is not None and last.last_id >= event_id:
            return
        try:
            await append(client, run_id, payload, last_id=event_id, boot=None, expected_seq=last.seq)
        except Refused:
            continue  # a zombie's last word came between: read again
        return
    raise BusUnavailable(f"the end of run {run_id}'s log would not hold still")


async def read(client: Client, run_id: UUID, after_seq: int, *, timeout_s: float = 5.0) -> AsyncIterator[Entry]:
    """The log after a stream sequence, to its end, by direct-get batches.

    Raises:
        BusUnavailable: the server did not answer.
    """
    while True:
        entries, more = await _batch(client, run_id, after_seq, timeout_s)
        for entry in entries:
            yield entry
            after_seq = entry.seq
        if not more:
            return


async def _batch(client: Client, run_id: UUID, after_seq: int, timeout_s: float) -> tuple[list[Entry], bool]:
    """One batch, and whether there is more. The server ends a batch with a status 204 and says how many are left."""
    request = {
        "next_by_subj": names.events_subject(run_id),
        "seq": after_seq + 1,
        "batch": 256,
        "max_bytes": _BATCH_BYTES_MAX,
    }
    entries: list[Entry] = []
    inbox = client.new_inbox()
    with translated():
        subscription = await client.subscribe(inbox, pending_bytes_limit=-1)
        try:
            await client.publish(_DIRECT_GET, json.dumps(request).encode(), reply=inbox)
            async with asyncio.timeout(timeout_s):
                async for message in subscription.messages:
                    headers = message.headers or {}
                    status = headers.get("Status")
                    if status is None:
                        entries.append(Entry(int(headers["Nats-Sequence"]), message.data))
                    elif status == "204":
                        return entries, int(headers.get("Nats-Num-Pending", "0")) > 0 and bool(entries)
                    elif status == "404":
                        return entries, False
                    else:
                        raise BusUnavailable(f"the event log answered {status}")
        finally:
            await subscription.unsubscribe()
    return entries, False
