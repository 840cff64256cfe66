"""Where a webhook may be: which URLs are taken, and which addresses are connected to.

https anywhere that is public; http to this machine alone, named as such (``localhost``, ``127.0.0.1``, ``[::1]``). A network that
is not public is reached only where the operator allows it. This module sends nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2

from holdfast.errors import Refused
from holdfast.outbound import Address, is_loopback, is_private, is_public

URL_LENGTH_MAX = 2048
_PORTS = {"http": 80, "https": 443}
_LOOKUPS_MAX = 16
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]+(%[a-z0-9]+)?")
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host's name and a port to its addresses; raises OSError when it has none."""


class TargetRefused(Refused):
    """Nothing is sent there; the message says why. It names no address: who may not reach one need not learn it."""

    def __init__(self, message: str) -> None:
        super().__init__("webhook_refused", message)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read. ``host`` is ASCII, in small letters, without brackets; ``here`` says that it names this machine."""

    url: httpx2.URL
    host: str
    port: int
    here: bool


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def read(url: str) -> Target:
    """Read a webhook's URL.

    Raises:
        TargetRefused: it is none, or not of a kind that is sent to.
    """
    if len(url) > URL_LENGTH_MAX:
        raise TargetRefused(f"a webhook's URL has at most {URL_LENGTH_MAX} characters")
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii").lower().strip("[]").rstrip(".")
        port = parsed.port
    except (httpx2.InvalidURL, ValueError) as error:
        raise TargetRefused("this is not a URL") from error
    if parsed.scheme not in _PORTS or not _HOST.fullmatch(host):
        raise TargetRefused("a webhook's URL begins with https://, or with http:// on this machine")
    if parsed.userinfo:
        raise TargetRefused("a webhook's URL carries no user's name and no password: the signature proves who sends")
    if parsed.fragment:
        raise TargetRefused("a webhook's URL has no fragment: it would not be sent")
    port = _PORTS[parsed.scheme] if port is None else port
    if not 0 < port < 2**16:
        raise TargetRefused(f"there is no port {port}")
    literal = _literal(host)
    here = host == "localhost" if literal is None else is_loopback(literal)
    if parsed.scheme == "http" and not here:
        raise TargetRefused("only https is sent over a network; http is for localhost, 127.0.0.1 and [::1]")
    return Target(parsed, host, port, here)


def _allowed(address: Address, target: Target, *, private: bool) -> bool:
    if target.here:  # whoever names this machine reaches nothing else
        return is_loopback(address)
    return is_public(address) or (private and is_private(address))


async def addresses_of(target: Target, resolve: Resolve, *, private: bool) -> list[Address]:
    """The addresses of a target, all of them allowed. ``private``: those of private networks are.

    Raises:
        TargetRefused: one of them is not allowed.
        OSError: the name leads nowhere.
    """
    literal = _literal(target.host)
    found = [literal] if literal is not None else [_address(each) for each in await resolve(target.host, target.port)]
    if not found:
        raise OSError(f"{target.host} has no address")
    if not all(_allowed(address, target, private=private) for address in found):
        raise TargetRefused(f"{target.host} leads to an address that is not public, and such are not allowed here")
    return found


def _address(text: str) -> Address:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:  # a resolver's answer that is no address is no answer
        raise OSError(f"{text} is not an address") from error


class Names:
    """Looks names up, in threads of its own: the event loop's are few, and a server of names that is slow to answer would hold up
    the connections to Postgres and NATS, which are looked up there. Who asks for a name that is being looked up gets that answer,
    so that one name takes one thread, however many messages go there."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_MAX, thread_name_prefix="webhook-names")
        self._under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each once, in the order in which they are to be tried.

        Raises:
            OSError: it has none.
        """
        asked = (host, port)
        lookup = self._under_way.get(asked)
        if lookup is None:
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
            self._under_way[asked] = lookup
            lookup.add_done_callback(lambda _: self._under_way.pop(asked))
        return list(dict.fromkeys(await asyncio.shield(lookup)))

    def close(self) -> None:
        """Start no more lookups; those under way are left to end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host} is not a name") from error
    return [str(entry[4][0]) for entry in found]
