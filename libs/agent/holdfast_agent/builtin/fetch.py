"""HTTP GET from hosts that the operator has allowed, and from nowhere else.

An address that is not public (this machine, a private network, a cloud's metadata) is reached only when the list names it, or its
network, as an address. The connection goes to the very address that was checked, so that a name which changes its mind in between
leads nowhere else. Each redirect is checked like the first request. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import codecs
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx2

from holdfast import outbound

BODY_BYTES_MAX = 256 * 1024
REDIRECTS_MAX = 5
TIMEOUT_S = 20.0
_PORTS = {"http": 80, "https": 443}
_CHARSETS = frozenset(
    {"utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "ascii", "koi8-r", "koi8-u", "gb2312", "gbk", "gb18030"}
    | {"big5", "shift_jis", "euc_jp", "iso2022_jp", "euc_kr"}
)
"""By Python's names. There are codecs besides that are no charsets, or that make characters which no text may hold."""
_CHARSET_FAMILIES = ("iso8859-", "cp125")
_is_public = outbound.is_public
_TEXTUAL = ("text/", "application/json", "application/xml", "application/javascript", "application/x-yaml")


class FetchRefusedError(Exception):
    """It is not allowed, or did not work; the message says why."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """``hosts`` as ``name`` or ``name:port``, with ``*.`` before the name for all below it; ``networks`` of addresses."""

    hosts: frozenset[str]
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> AllowList:
        """Read the operator's list: an entry is an address or a network if it can be read as one, and a host otherwise."""
        hosts, networks = set(), []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                hosts.add(entry.lower())
        return cls(frozenset(hosts), tuple(networks))

    def names(self, host: str, port: int) -> bool:
        """Is this name on the list?"""
        above = host.split(".")
        wild = ["*." + ".".join(above[at:]) for at in range(1, len(above))]
        return any(each in self.hosts or f"{each}:{port}" in self.hosts for each in (host, *wild))

    def holds(self, address: IPv4Address | IPv6Address) -> bool:
        """Is this address on the list?"""
        return any(address in network for network in self.networks)


@cache
def _certificates() -> ssl.SSLContext:
    """Read once: it takes longer than all the rest of a client, and the loop stands still for it."""
    return httpx2.create_ssl_context(trust_env=False)


async def fetch(url: str, allowed: AllowList) -> dict[str, object]:
    """``{"url", "status", "content_type", "text", "truncated"}`` of the last answer, its text cut at 256 KiB.

    Raises:
        FetchRefusedError: not allowed, not http, no answer in 20 s, too many redirects, or no text.
    """
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx2.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=TIMEOUT_S, verify=_certificates()
            ) as client,
        ):
            for _ in range(REDIRECTS_MAX + 1):
                answer = await _get(client, url, allowed)
                if isinstance(answer, dict):
                    return answer
                url = answer
    except TimeoutError as error:
        raise FetchRefusedError(f"no whole answer within {TIMEOUT_S:g} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ExceptionGroup) as error:
        # a ValueError: a name or a redirect that is no address; a group: each way to connect has failed for its own reason
        raise FetchRefusedError(f"it did not work: {type(error).__name__}: {error}") from error
    raise FetchRefusedError(f"there are more than {REDIRECTS_MAX} redirects")


async def _get(client: httpx2.AsyncClient, url: str, allowed: AllowList) -> dict[str, object] | str:
    """The answer, or where it redirects to."""
    parsed = httpx2.URL(url)
    if parsed.scheme not in _PORTS or not parsed.host or parsed.userinfo:
        raise FetchRefusedError("only http and https addresses without a user's name are fetched")
    port = parsed.port if parsed.port is not None else _PORTS[parsed.scheme]
    if not 0 < port < 2**16:
        raise FetchRefusedError(f"there is no port {port}")
    address = await _address(parsed.host.lower().rstrip("."), port, allowed)
    request = client.build_request(
        "GET",
        parsed.copy_with(host=str(address)),
        headers={"host": parsed.netloc.decode(), "accept-encoding": "identity"},
        extensions={"sni_hostname": parsed.host},
    )
    answer = await client.send(request, stream=True)
    try:
        if answer.is_redirect and "location" in answer.headers:
            return str(parsed.join(answer.headers["location"]))
        content_type = answer.headers.get("content-type", "")
        if not _is_text(content_type) or answer.headers.get("content-encoding", "identity") != "identity":
            raise FetchRefusedError(f"the answer ({answer.status_code}) is no plain text but {content_type}")
        body = bytearray()
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                break
    finally:
        await answer.aclose()
    text = bytes(body[:BODY_BYTES_MAX]).decode(_charset(answer.charset_encoding), errors="replace")
    return {
        "url": url,
        "status": answer.status_code,
        "content_type": content_type,
        "text": text.replace("\x00", "\ufffd"),
        "truncated": len(body) > BODY_BYTES_MAX,
    }


def _charset(said: str | None) -> str:
    """What a text is read as: UTF-8, unless the answer says something else that is known to be harmless."""
    try:
        name = codecs.lookup(said or "utf-8").name
    except (LookupError, ValueError):
        return "utf-8"
    return name if name in _CHARSETS or name.startswith(_CHARSET_FAMILIES) else "utf-8"


def _is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return not kind or kind.startswith(_TEXTUAL) or kind.endswith(("+json", "+xml"))


async def _address(host: str, port: int, allowed: AllowList) -> IPv4Address | IPv6Address:
    """Where to connect to: allowed by its name or as an address, and public unless allowed as an address."""
    try:
        literal = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        literal = None
    if literal is not None:
        if not allowed.holds(literal):
            raise FetchRefusedError(f"{host} is not on the list of allowed addresses")
        return literal
    if not allowed.names(host, port):
        raise FetchRefusedError(f"{host} is not on the list of allowed hosts")
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(each[4][0]) for each in found]
    for address in addresses:
        if not (_is_public(address) or allowed.holds(address)):
            raise FetchRefusedError(f"{host} leads to an address that is not public and not on the list")
    return addresses[0]
