"""Hearing a subject without a queue and a task of its own: each message is taken at once, as it is read from the connection.

The client library gives each subscription a queue and a task that empties it, which costs more than the message does where
thousands of subjects are heard. It also looks at each character of each header's name, which costs more than all the rest: a
connection that is heard here knows the names that it has seen. Who takes messages must not wait, and bounds for itself what it
keeps. A message that it fails at is lost: raised any further, the error would end the reading of the whole connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from holdfast.bus.connection import translated
from holdfast.logs import get_logger

log = get_logger(__name__)
_NAMES_MAX = 256
_names: dict[bytes, str | None] = {}  # of headers, as they come; None: not a name


async def hear(client: Client, subject: str, take: Callable[[Msg], None]) -> Subscription:
    """Subscribe; ``take`` is called in the loop of the connection, message by message, also after reconnects.

    Raises:
        BusUnavailable: NATS is away.
    """
    with translated():
        client._parse_header_lines = header_lines  # type: ignore[method-assign]  # the library has no other place for it
        subscription = await client.subscribe(
            subject, pending_bytes_limit=0
        )  # 0: nothing is pending, so nothing is refused
    subscription._pending_queue = _AtOnce(
        take
    )  # the one place where the library lets a message be taken when it is read
    return subscription


def header_lines(raw: bytes) -> dict[str, str]:
    """The headers of a message, as the library's own ``_parse_header_lines`` reads them."""
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        written, colon, value = line.partition(b":")
        name = _names[written] if written in _names else _name(written)
        if colon and name is not None:
            headers[name] = value.strip().decode("utf-8", "replace")
    return headers


def _name(written: bytes) -> str | None:
    """A header's name; None if it cannot be one."""
    name: str | None
    try:
        name = written.strip().decode("ascii")
    except UnicodeDecodeError:
        name = None
    if name is not None and any(each.isspace() for each in name):
        name = None
    if len(_names) < _NAMES_MAX:
        _names[written] = name
    return name


class _AtOnce(asyncio.Queue[Msg]):
    """Is always empty: what is put in is taken."""

    def __init__(self, take: Callable[[Msg], None]) -> None:
        super().__init__()
        self._take = take

    def put_nowait(self, item: Msg) -> None:
        """As the library calls it for each message."""
        try:
            self._take(item)
        except Exception as error:
            log.error("bus.message_not_taken", subject=item.subject, exc_info=error)
