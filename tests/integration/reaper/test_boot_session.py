"""A boot's session in Postgres: its lock is held while it lives, free soon after, and nothing about it hangs."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from holdfast.errors import StoreUnavailable
from holdfast.runs import boot_lock_key
from holdfast.store.session import Session
from holdfast_local.servers import PostgresServer
from tests.support.wait import wait_until


def test_a_boots_key_is_its_first_eight_bytes_signed_and_big_endian() -> None:
    assert boot_lock_key(UUID("00000000-0000-0001-ffff-ffffffffffff")) == 1
    assert boot_lock_key(UUID("ffffffff-ffff-fffe-0000-000000000000")) == -2


async def test_locks_are_held_as_long_as_their_sessions_live(postgres_url: str) -> None:
    alive, gone, never = uuid4(), uuid4(), uuid4()
    look = await Session.open(postgres_url, timeout_s=2.0)
    sessions = [await Session.open(postgres_url, timeout_s=2.0) for _ in range(2)]
    await sessions[0].hold_boot(alive)
    await sessions[1].hold_boot(gone)
    assert await look.free_boots([alive, gone, never]) == {never}
    assert await look.free_boots([]) == frozenset()
    await sessions[1].close()

    async def free() -> bool:
        return await look.free_boots([alive, gone, never]) == {gone, never}

    await wait_until(free, description="the lock of a closed session to be free")
    for session in (look, *sessions):
        await session.close()


async def test_f23_a_boot_that_reconnects_holds_its_lock_beside_its_old_session(postgres_url: str) -> None:
    boot = uuid4()
    look, old, new = [await Session.open(postgres_url, timeout_s=2.0) for _ in range(3)]
    await old.hold_boot(boot)
    await new.hold_boot(boot)
    await old.close()
    for _ in range(20):
        assert await look.free_boots([boot]) == frozenset()
    for session in (look, new):
        await session.close()


async def test_a_frozen_postgres_is_noticed_in_time_and_holds_up_no_close(
    postgres: PostgresServer, postgres_url: str
) -> None:
    session = await Session.open(postgres_url, timeout_s=0.5)
    postgres.pause()
    try:
        async with asyncio.timeout(2):
            with pytest.raises(StoreUnavailable):
                await session.check()
            with pytest.raises(StoreUnavailable):
                await session.hold_boot(uuid4())
            with pytest.raises(StoreUnavailable):
                await Session.open(postgres_url, timeout_s=0.5)
            await session.close()
    finally:
        postgres.resume()
