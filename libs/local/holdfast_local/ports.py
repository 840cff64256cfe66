"""Loopback ports for servers that may choose their own."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"

# Below every system's ephemeral range (Linux from 32768, others from 49152). A port inside it may be taken by somebody's
# outgoing connection while its server restarts; a client that retries on loopback can even end up connected to itself.
_FIRST, _LAST = 15_000, 32_000
_TRIES_MAX = 1_000


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on ``host:port`` now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT does not count as taken
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int, *, excluding: Collection[int] = ()) -> list[int]:
    """``count`` different ports on which nobody listens on loopback, none of ``excluding``; they are not reserved."""
    ports: list[int] = []
    for _ in range(_TRIES_MAX):
        if len(ports) == count:
            return ports
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in ports and port not in excluding and is_free(port):
            ports.append(port)
    raise OSError(f"found no {count} free ports between {_FIRST} and {_LAST}")
