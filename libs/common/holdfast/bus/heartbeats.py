"""The heartbeat bucket: writing a key as a lease, reading all of it, watching it; and the ping that asks one boot directly.

Raw publishes, since the client's own KV calls strip a key's TTL when they renew it and misread a key that expired. A key's value
is a :class:`Heartbeat`; its revision is the stream's sequence.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.api import DeliverPolicy
from nats.js.errors import APIError, NotFoundError
from pydantic import ValidationError

from holdfast.bus import names
from holdfast.bus.connection import translated
from holdfast.errors import BusUnavailable, HoldfastError
from holdfast.wire.messages import Heartbeat

_WRONG_SEQUENCE = frozenset({10071, 10164})
_PREFIX = names.heartbeat_key("")


class Refused(HoldfastError):
    """The key is not at the revision that the writer expected."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A key of the bucket as it was seen. ``heartbeat`` is None for a key that expired or was deleted.

    ``written_at`` is the server's time of the write, ISO 8601; :func:`read_all` alone tells it.
    """

    name: str
    revision: int
    heartbeat: Heartbeat | None
    written_at: str | None = None


def _parse(name: str, revision: int, data: bytes, headers: dict[str, str] | None) -> Beat:
    if headers and ("Nats-Marker-Reason" in headers or "KV-Operation" in headers):
        return Beat(name, revision, None)
    try:
        return Beat(name, revision, Heartbeat.model_validate_json(data))
    except ValidationError:
        return Beat(name, revision, None)


async def write(client: Client, name: str, heartbeat: Heartbeat, *, expected: int, ttl_s: int, timeout_s: float) -> int:
    """Write a key that stands at revision ``expected`` (0: there is none). Returns its new revision.

    Raises:
        Refused: it stands at another revision.
        BusUnavailable: the outcome is not known.
    """
    context = client.jetstream(timeout=timeout_s)
    headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
    with translated():
        try:
            ack = await context.publish(
                names.heartbeat_key(name), heartbeat.model_dump_json().encode(), headers=headers, msg_ttl=ttl_s
            )
        except APIError as error:
            if error.err_code in _WRONG_SEQUENCE:
                raise Refused(str(error)) from error
            raise
    return ack.seq


async def read(client: Client, name: str, *, timeout_s: float = 2.0) -> Beat:
    """A key as the stream's leader has it; revision 0 when there is none.

    Raises:
        BusUnavailable: the server did not answer, or the bucket does not exist.
    """
    context = client.jetstream(timeout=timeout_s)
    with translated():
        try:
            message = await context.get_last_msg(names.BUCKET_STREAM, names.heartbeat_key(name))
        except NotFoundError as error:
            if error.err_code == 10059:
                raise BusUnavailable("the heartbeat bucket does not exist (yet)") from error
            return Beat(name, 0, None)
    return _parse(name, message.seq or 0, message.data or b"", message.headers)


async def read_all(client: Client, *, timeout_s: float = 2.0) -> list[Beat]:
    """Every key that is alive, in one request.

    Raises:
        BusUnavailable: the server did not answer, or the bucket does not exist.
    """
    inbox = client.new_inbox()
    beats: list[Beat] = []
    request = {"multi_last": [f"{_PREFIX}>"], "batch": 1000}
    with translated():
        subscription = await client.subscribe(inbox)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{names.BUCKET_STREAM}", json.dumps(request).encode(), reply=inbox)
            while True:
                message = await subscription.next_msg(timeout=timeout_s)
                headers = message.headers or {}
                if headers.get("Status") in ("204", "404"):
                    return [beat for beat in beats if beat.heartbeat is not None]
                if "Status" in headers:
                    raise BusUnavailable(f"the heartbeat bucket answered {headers['Status']}")
                name = headers["Nats-Subject"].removeprefix(_PREFIX)
                beat = _parse(name, int(headers["Nats-Sequence"]), message.data, headers)
                beats.append(replace(beat, written_at=headers.get("Nats-Time-Stamp")))
        finally:
            await subscription.unsubscribe()


async def watch(client: Client, seen: Callable[[Beat], Awaitable[None]]) -> Any:
    """Watch the bucket: every key as it stands, then every change, expiries among them.

    An ordered consumer with a 1 s idle heartbeat; make it anew at each reconnect (the client's KV watch stalls for 11 to 16 s).
    Returns the subscription, for its ``unsubscribe``.
    """

    async def arrived(message: Msg) -> None:
        name = message.subject.removeprefix(_PREFIX)
        await seen(_parse(name, message.metadata.sequence.stream, message.data, message.headers))

    context = client.jetstream(timeout=2.0)
    with translated():
        return await context.subscribe(
            f"{_PREFIX}>",
            stream=names.BUCKET_STREAM,
            ordered_consumer=True,
            idle_heartbeat=1.0,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            cb=arrived,
        )


async def ping(client: Client, pod: str, boot: UUID, *, timeout_s: float) -> bool | None:
    """Does the heartbeat's connection of a boot answer? False: nobody listens there. None: not known (no answer in time)."""
    try:
        await client.request(names.ping_subject(pod, boot), b"", timeout=timeout_s)
    except NoRespondersError:
        return False
    except (nats.errors.Error, OSError, TimeoutError):
        return None
    return True
