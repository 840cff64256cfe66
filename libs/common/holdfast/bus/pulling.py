"""Taking requests of a pool: the server is asked for as many as there is room for, and hands them out as they come.

What was asked for and has not come is *owed*. A pull expires, and the server says how much of it was left; one that it forgets
(a consumer whose leader was lost) counts as a failure, and who takes requests begins anew. To see that, and since a server keeps
only so many pulls, there is one at a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from holdfast.bus import names
from holdfast.bus.connection import translated
from holdfast.errors import BusUnavailable

_EXPIRES_S = 2.0
_FORGOTTEN_S = 1.0  # so long after it expired, a pull that the server has said nothing about is lost
_NO_MORE = frozenset({"404", "408"})
_HEARTBEAT = "100"


class Pulling:
    """Takes requests of one pool over one subscription. Use: :meth:`open`, then :meth:`ask` and :meth:`take`, at the end
    :meth:`close`.

    Args:
        client: a connection.
        pool: whose requests; its consumer is there.
        on_arrival: called when there is something to take, or what was asked for has expired.
    """

    def __init__(self, client: Client, pool: str, *, on_arrival: Callable[[], None]) -> None:
        self._client = client
        self._next_subject = f"$JS.API.CONSUMER.MSG.NEXT.{names.REQUESTS_STREAM}.{names.consumer(pool)}"
        self._on_arrival = on_arrival
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: list[Msg] = []
        self._owed = 0
        self._refused = ""
        self._forgotten_at = 0.0
        self._is_overdue = False

    @property
    def is_asking(self) -> bool:
        """May there be more to come?"""
        return self._owed > 0

    @property
    def owed(self) -> int:
        """How many requests may still come, or have come and were not taken."""
        return self._owed + len(self._arrived)

    async def open(self) -> None:
        """Listen for what will be asked for.

        Raises:
            BusUnavailable: the connection is closed.
        """
        with translated():
            self._subscription = await self._client.subscribe(self._inbox, cb=self._take_in)

    async def ask(self, count: int) -> None:
        """Ask for so many; they come when they are there, and until the pull expires. Not while :attr:`is_asking`.

        Raises:
            BusUnavailable: it could not be sent.
        """
        request = {"batch": count, "expires": int(_EXPIRES_S * 1e9)}
        with translated():
            await self._client.publish(self._next_subject, json.dumps(request).encode(), reply=self._inbox)
        self._owed += count
        self._forgotten_at = asyncio.get_running_loop().time() + _EXPIRES_S + _FORGOTTEN_S
        self._is_overdue = False

    def take(self) -> list[Msg]:
        """What has come, each to be acked or given back.

        Raises:
            BusUnavailable: the server has ended a pull, or forgotten one.
        """
        arrived, self._arrived = self._arrived, []
        if arrived:
            return arrived
        if self._refused:
            raise BusUnavailable(f"the consumer of requests answered {self._refused}")
        now = asyncio.get_running_loop().time()
        if self._owed > 0 and now > self._forgotten_at:
            if self._is_overdue:
                raise BusUnavailable("the consumer of requests does not answer")
            # The loop may have stood still, and what the server has said may be unread: look once more.
            self._is_overdue, self._forgotten_at = True, now + _FORGOTTEN_S
        return []

    async def close(self) -> list[Msg]:
        """Let the server forget what was asked for. Returns what has come and was not taken."""
        if self._subscription is not None:
            with translated():
                await self._subscription.unsubscribe()
        arrived, self._arrived = self._arrived, []
        return arrived

    async def _take_in(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            self._owed -= 1
            self._arrived.append(message)
        elif status in _NO_MORE:
            self._owed -= int(headers.get("Nats-Pending-Messages", "0"))
        elif status != _HEARTBEAT:
            self._refused = " ".join([status, *headers.get("Description", "").split()])
        self._on_arrival()
