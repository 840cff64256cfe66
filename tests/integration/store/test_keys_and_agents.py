"""API keys, and what runners say of the agents that they have loaded."""

from __future__ import annotations

import asyncio
import hashlib
from uuid import uuid4

from holdfast.store import Database, KeyRow, caller, owner, stranger
from tests.integration.store.record import TENANT, boot

_HASH = hashlib.sha256(b"a key").digest()


async def _make_key(db: Database, tenant: str = TENANT, key_hash: bytes = _HASH) -> KeyRow | None:
    return await caller.make_key(db, tenant, name="first", prefix="hf_a", key_hash=key_hash, operator=True)


async def test_a_key_belongs_to_a_tenant_until_it_is_revoked(db: Database) -> None:
    key = await _make_key(db, "acme")
    assert key is not None
    assert await caller.find_key(db, _HASH) == ("acme", True)
    assert not await caller.revoke_key(db, TENANT, key.id), "it is another tenant's"
    assert not await caller.revoke_key(db, "acme", uuid4())
    assert await caller.find_key(db, _HASH) == ("acme", True)
    assert await caller.revoke_key(db, "acme", key.id)
    assert await caller.find_key(db, _HASH) is None
    [listed] = await caller.keys(db, "acme")
    first = listed.revoked_at
    assert first is not None
    assert await caller.revoke_key(db, "acme", key.id)
    [listed] = await caller.keys(db, "acme")
    assert listed.revoked_at == first, "the first time stays"


async def test_ten_gateways_that_make_the_first_key_at_once_make_one(db: Database) -> None:
    made = await asyncio.gather(*(_make_key(db, "acme") for _ in range(10)))
    assert len([key for key in made if key is not None]) == 1
    assert len(await caller.keys(db, "acme")) == 1


async def test_agents_are_those_of_each_pods_newest_boot(db: Database) -> None:
    before, after, other = boot("a"), boot("a"), boot("b")
    await owner.say_agents(db, before, "default", [("echo", "v1", "", {}), ("old", "v1", "", {})])
    await owner.say_agents(db, other, "gpu", [("echo", "v2", "says it again", {"type": "object"})])
    await owner.say_agents(db, after, "default", [("echo", "v3", "", {})])
    rows = await caller.agents(db)
    assert [(row.name, row.pod, row.version, row.pool) for row in rows] == [
        ("echo", "a", "v3", "default"),
        ("echo", "b", "v2", "gpu"),
    ]
    assert rows[1].input_schema == {"type": "object"}
    await owner.say_agents(db, after, "default", [])
    await stranger.forget_agents(db, unseen_s=3600)
    assert len(await caller.agents(db)) == 2
    await stranger.forget_agents(db, unseen_s=0)
    assert await caller.agents(db) == []
