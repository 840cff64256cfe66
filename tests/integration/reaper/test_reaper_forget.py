"""What is kept for a while only is forgotten: changes of runs, and deliveries that are done."""

from __future__ import annotations

from holdfast.store import caller, feed
from holdfast.store.feed import ChangeId
from tests.integration.reaper.world import World, reaping
from tests.support.wait import wait_until

_DELIVERIES = """
INSERT INTO deliveries (tenant_id, webhook_id, run_id, url, target, event, payload, next_at, delivered_at)
SELECT 'default', uuidv7(), $1, 'https://x', 'x', e.name, '', e.next_at, e.done_at
FROM (VALUES ('old', NULL::timestamptz, now() - interval '31 days'), ('young', NULL, now() - interval '29 days'),
             ('due', now() - interval '31 days', NULL)) AS e (name, next_at, done_at)
"""


async def test_what_is_old_is_forgotten_batch_after_batch_and_what_is_young_stays(world: World) -> None:
    """By two reapers at once: changes after a time that is set, deliveries that are done after a month."""
    for _ in range(7):
        await world.submit()
    await world.sql("UPDATE changes SET at = at - interval '2 h'")
    last_old = ChangeId.parse(await world.sql("SELECT xid::text || '-' || id FROM changes ORDER BY id DESC LIMIT 1"))
    young = await world.submit()
    await world.sql(_DELIVERIES, young)
    await caller.make_thread(world.db, "default", "years-old", {})
    await world.sql("UPDATE threads SET created_at = now() - interval '9 years' WHERE id = 'years-old'")

    async def forgotten() -> bool:
        changes = await world.sql("SELECT count(*) FROM changes")
        deliveries = await world.sql("SELECT array_agg(event ORDER BY event) FROM deliveries")
        return (changes, deliveries) == (1, ["due", "young"])

    settings = world.settings(feed_keep_s=3600, sweep_batch_size=2)
    async with reaping(settings), reaping(settings):
        await wait_until(forgotten, description="what is old to be forgotten")
    assert await world.sql("SELECT run_id FROM changes") == young
    assert await world.sql("SELECT count(*) FROM threads WHERE id = 'years-old'") == 1, (
        "kept for ever unless told otherwise"
    )
    for place, missing in ((ChangeId(0, 0), True), (last_old, False)):
        read = (await feed.changes(world.db, {"default": place}, limit=10)).of_tenant["default"]
        assert read.missing is missing


async def test_threads_that_are_over_go_when_they_are_not_kept_for_ever(world: World) -> None:
    """By two reapers at once, a look at two threads at a time; and with them the oldest idempotency keys."""
    old = [await world.submit() for _ in range(5)]
    young = await world.submit()
    for run in (*old, young):
        await caller.queue_remove(world.db, "default", (await world.run(run)).thread_id, run)
    await world.sql("ALTER TABLE runs DISABLE TRIGGER runs_terminal_is_final")
    await world.sql("UPDATE runs SET finished_at = now() - interval '25 h' WHERE id = ANY ($1)", old)
    await world.sql("ALTER TABLE runs ENABLE TRIGGER runs_terminal_is_final")
    await world.sql("UPDATE threads SET created_at = now() - interval '25 h'")

    async def forgotten() -> bool:
        return bool(await world.sql("SELECT array_agg(id) = ARRAY[$1::uuid] FROM runs", young))

    settings = world.settings(retention_s=24 * 3600, sweep_batch_size=2)
    async with reaping(settings), reaping(settings):
        await wait_until(forgotten, description="what is over to be forgotten")
    assert await world.sql("SELECT count(*) FROM threads") == 1
