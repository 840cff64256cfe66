"""New ids of runs and threads: UUIDs of version 7, so that a list by id is a list by time.

Made here and not by the record, since a submit's retry within one request must name the same run.
"""

from __future__ import annotations

import secrets
import time
from uuid import UUID

_MILLISECOND_NS = 1_000_000


def uuid7(now_ns: int, random_bits: int) -> UUID:
    """A UUIDv7 (RFC 9562, method 3: the 12 bits after the milliseconds are a fraction of one, as Postgres makes them).

    Args:
        now_ns: the time since the epoch, in nanoseconds.
        random_bits: 62 random bits.
    """
    milliseconds, rest_ns = divmod(now_ns, _MILLISECOND_NS)
    fraction = rest_ns * 4096 // _MILLISECOND_NS
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (fraction << 64) | (0b10 << 62) | random_bits)


def new_id() -> UUID:
    """An id that nobody else has."""
    return uuid7(time.time_ns(), secrets.randbits(62))
