"""The number of the advisory lock that a boot holds in Postgres for as long as its session lives."""

from __future__ import annotations

from uuid import UUID


def boot_lock_key(boot: UUID) -> int:
    """The first 8 bytes of a boot as a signed big-endian integer: a Postgres ``bigint``.

    A boot is a random UUID, so two boots share a key with a chance of about 1 in 2**58 a pair.
    """
    return int.from_bytes(boot.bytes[:8], "big", signed=True)
