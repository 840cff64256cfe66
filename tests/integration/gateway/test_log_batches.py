"""Reading a log in batches that are bounded in bytes: nothing is left out; a batch is a message over it at the most."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from holdfast.bus import event_log, names
from holdfast.runs import EventId
from tests.integration.gateway.world import World


@pytest.mark.parametrize(
    ("sizes_bytes", "batch_bytes_max"), [([300_000] * 20, 2_000_000), ([1_048_000] * 3, 2_100_000)]
)
async def test_a_log_larger_than_a_batch_is_read_to_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch, sizes_bytes: list[int], batch_bytes_max: int
) -> None:
    client, run_id, seq = await world.nats(), uuid4(), 0
    for n, size in enumerate(sizes_bytes, start=1):
        seq = await event_log.append(
            client, run_id, b"x" * size, last_id=EventId(1, n), boot=None, expected_seq=seq, timeout_s=10.0
        )
    batches: list[int] = []
    batch = event_log._batch

    async def noted(*args: Any) -> Any:
        messages, more = await batch(*args)
        batches.append(sum(len(message.payload) for message in messages))
        return messages, more

    monkeypatch.setattr(event_log, "_batch", noted)
    read = [len(entry.payload) async for entry in event_log.read(client, run_id, 0)]
    assert read == sizes_bytes
    assert len(batches) > 1
    assert max(batches) <= batch_bytes_max


async def test_the_leader_says_where_a_log_goes_on(world: World) -> None:
    client, run_id, seqs = await world.nats(), uuid4(), [0]
    for n in range(1, 4):
        seqs.append(
            await event_log.append(client, run_id, b"x", last_id=EventId(1, n), boot=None, expected_seq=seqs[-1])
        )
        await event_log.append(client, uuid4(), b"x", last_id=EventId(1, 1), boot=None, expected_seq=0)
    await client.jetstream().delete_msg(names.EVENTS_STREAM, seqs[2])
    assert await event_log.next_seq(client, run_id, 0) == seqs[1]
    assert await event_log.next_seq(client, run_id, seqs[1]) == seqs[3]
    assert await event_log.next_seq(client, run_id, seqs[3]) is None
