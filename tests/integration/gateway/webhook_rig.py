"""The part of a gateway that delivers, on a real record: runs that change there, and deliverers that a test starts and stops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self
from uuid import UUID, uuid4

from holdfast.errors import StoreUnavailable
from holdfast.runs import Lease, OnBusy, Outcome, Owner
from holdfast.settings import GatewaySettings
from holdfast.store import Database, caller, owner, stranger, webhooks
from holdfast.store.queries import sql
from holdfast.store.webhooks import DeliveryRow, RunWebhook
from holdfast_gateway.record import Record
from holdfast_gateway.webhooks.delivering import Deliverer
from holdfast_gateway.webhooks.sending import Sender
from holdfast_gateway.webhooks.targets import Names, Resolve
from tests.integration.gateway.webhook_receiver import CERTIFICATE
from tests.support.wait import wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
FINAL = ("run.completed", "run.failed", "run.cancelled")
OWNER = Owner("a", UUID(int=7))


class Deliveries:
    """``async with Deliveries(url) as rig``. Nothing is sent until a deliverer runs: ``async with rig.sending(…)``."""

    def __init__(self, postgres_url: str) -> None:
        self.url = postgres_url
        self.db = Database(postgres_url, pool_size=4, timeout_s=5.0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.db.close()

    async def raw(self, statement: str, *args: object) -> list[Any]:
        """Any SQL."""
        return await self.db.run(lambda connection: connection.fetch(statement, *args))

    async def explain(self, name: str, args: str) -> list[Any]:
        """The plan for a statement of the store, made for these arguments."""

        async def planned(connection: Any) -> list[Any]:
            await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            await connection.execute(f"PREPARE wanted AS {sql(name)}")
            try:
                return list(await connection.fetch(f"EXPLAIN EXECUTE wanted ({args})"))
            finally:
                await connection.execute("DEALLOCATE wanted")

        return await self.db.transact(planned)

    async def hook(self, url: str, *events: str, tenant: str = "default") -> UUID:
        """A tenant's webhook."""
        row = await webhooks.add(self.db, tenant, url=url, events=events or FINAL, description="", secret=SECRET)
        return row.id

    async def submit(self, *, webhook: RunWebhook | None = None, metadata: Mapping[str, Any] | None = None) -> UUID:
        """A queued run on a thread of its own."""
        run_id = uuid4()
        request = caller.Submit(
            run_id=run_id,
            tenant_id="default",
            thread_id=f"t-{run_id}",
            make_thread=True,
            agent="echo",
            pool="default",
            input={},
            metadata=metadata or {},
            on_busy=OnBusy.ENQUEUE,
            webhook=webhook,
        )
        await caller.submit(self.db, request)
        return run_id

    async def ended(self, count: int = 1) -> list[UUID]:
        """Runs that were cancelled before they began: one delivery each, where a webhook wants it."""
        made = [await self.submit() for _ in range(count)]
        for run_id in made:
            await stranger.cancel(self.db, "default", run_id)
        return made

    async def claim(self, run_id: UUID) -> Lease:
        """As a runner does."""
        claimed = await owner.claim(self.db, run_id, OWNER, {"echo": "v1"})
        assert claimed is not None
        return Lease(run_id, OWNER, claimed.run.attempt)

    async def claimed_by(self, run_id: UUID) -> Owner:
        """Who has it."""
        run = await caller.run(self.db, "default", run_id)
        assert run.run_owner_pod is not None
        assert run.run_owner_boot is not None
        return Owner(run.run_owner_pod, run.run_owner_boot)

    async def finish(self, lease: Lease, outcome: Outcome = Outcome.COMPLETED, error: str | None = None) -> None:
        """As a runner does."""
        await owner.finish(
            self.db,
            lease,
            outcome=outcome,
            output=None,
            error={"code": error, "message": "it went wrong"} if error else None,
            terminal_event_id=f"{lease.attempt}-2",
            shown_text="",
        )

    async def rows(self, **filters: Any) -> list[DeliveryRow]:
        """The deliveries, oldest first."""
        wanted: dict[str, Any] = {"before": None, "status": None, "run_id": None, "webhook_id": None, "limit": 200}
        return (await webhooks.deliveries(self.db, "default", **(wanted | filters)))[::-1]

    async def one(self) -> DeliveryRow:
        """The only delivery."""
        [row] = await self.rows()
        return row

    async def until(self, *, tries: int | None = None, **filters: Any) -> DeliveryRow:
        """Wait until the only delivery was tried so often, nobody is at it, and the filters find it."""
        found: list[DeliveryRow] = []

        async def there() -> bool:
            found[:] = await self.rows(**filters)
            return bool(found) and found[0].leased_until is None and tries in (None, found[0].tries)

        await wait_until(there, description=f"the delivery is as {filters or tries} say")
        return found[0]

    async def seconds_to_next(self) -> float:
        """From now to the only delivery's next try."""
        [row] = await self.raw("SELECT extract(epoch FROM next_at - now())::float AS s FROM deliveries")
        return float(row["s"])

    async def hours_pass(self, hours: float = 24.0) -> None:
        """For all deliveries, those under way too."""
        await self.raw(
            "UPDATE deliveries SET next_at = next_at - make_interval(secs => 3600 * $1::float),"
            " leased_until = leased_until - make_interval(secs => 3600 * $1::float),"
            " tried_since = tried_since - make_interval(secs => 3600 * $1::float)",
            hours,
        )

    @asynccontextmanager
    async def sending(
        self,
        *,
        resolve: Resolve | None = None,
        private: bool = False,
        timeout_s: float = 5.0,
        at_once: int = 64,
        url: str | None = None,
        drain_grace_s: float = 5.0,
    ) -> AsyncIterator[asyncio.Event]:
        """A gateway's deliverer while the block runs; yields the event that drains it. Its dice always show 0."""
        record = Record(GatewaySettings(postgres_url=url or self.url, auth="none"))
        draining = asyncio.Event()
        async with AsyncExitStack() as stack:
            if resolve is None:
                names = Names()
                stack.callback(names.close)
                resolve = names
            sender = Sender(resolve, timeout_s=timeout_s, private=private, certificates=trusting_the_receiver)
            deliverer = Deliverer(
                record,
                sender,
                timeout_s=timeout_s,
                at_once=at_once,
                draining=draining,
                drain_grace_s=drain_grace_s,
                poll_interval_s=0.05,
                dice=lambda: 0.0,
            )
            parts = [asyncio.create_task(record.keep()), asyncio.create_task(deliverer.keep())]
            try:
                await wait_until(lambda: _there(record), description="the record is there")
                yield draining
            finally:
                for part in parts:
                    part.cancel()
                await asyncio.gather(*parts, return_exceptions=True)
                await record.close()


def _there(record: Record) -> bool:
    try:
        record.require()
    except StoreUnavailable:
        return False
    return True


def trusting_the_receiver() -> ssl.SSLContext:
    """Certificates as a machine has them that knows the receiver's."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def leads_to(*addresses: str) -> Resolve:
    """Names that all lead there."""

    async def resolve(_: str, __: int) -> Sequence[str]:
        return addresses

    return resolve
