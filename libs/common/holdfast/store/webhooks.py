"""Webhooks in the record, and the deliveries that changes of runs have made for them.

Deliveries are made by a trigger, with the change that they tell of; here they are listed, taken by those who send, ended, sent
anew and forgotten. A try is held by its lease, and its end is fenced by that lease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from holdfast.errors import NotFound, Refused
from holdfast.store.database import Database
from holdfast.store.rows import row_as

PER_TENANT_MAX = 50
"""Each change of a run writes a row for each webhook of its tenant."""


@dataclass(frozen=True, slots=True)
class RunWebhook:
    """The webhook of one run. ``secret`` is ``whsec_`` and base64."""

    url: str
    secret: str = field(repr=False)
    events: Sequence[str]

    def stored(self) -> dict[str, Any]:
        """As the run's row has it."""
        return {"url": self.url, "secret": self.secret, "events": list(self.events)}


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A tenant's webhook, without its secret."""

    id: UUID
    url: str
    events: list[str]
    description: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A message to one receiver. ``webhook_id`` is None for one of a run alone.

    ``next_at`` is there as long as it is to be tried again; else ``delivered_at`` or ``gave_up_at`` is. ``leased_until`` may lie
    in the past: then nobody is at it.
    """

    id: UUID
    webhook_id: UUID | None
    run_id: UUID
    url: str
    event: str
    payload: str
    created_at: datetime
    next_at: datetime | None
    tries: int
    leased_until: datetime | None
    delivered_at: datetime | None
    gave_up_at: datetime | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is to be tried now; this is its try number ``tries``, and the first was ``tried_for_s`` seconds ago.

    ``secret`` is None when the webhook has been removed meanwhile.
    """

    id: UUID
    tenant_id: str
    run_id: UUID
    url: str
    target: str
    event: str
    payload: str
    tries: int
    leased_until: datetime
    tried_for_s: float
    secret: str | None = field(repr=False)


async def add(
    db: Database, tenant_id: str, *, url: str, events: Sequence[str], description: str, secret: str
) -> WebhookRow:
    """Add a webhook to a tenant.

    Raises:
        Refused: ``too_many_webhooks``.
    """
    row = await db.fetchrow("webhook_insert", tenant_id, url, list(events), description, secret, PER_TENANT_MAX)
    if row is None:
        raise Refused("too_many_webhooks", f"there are {PER_TENANT_MAX} webhooks already: remove one first")
    return row_as(WebhookRow, row)


async def webhooks(db: Database, tenant_id: str) -> list[WebhookRow]:
    """A tenant's webhooks, oldest first."""
    return [row_as(WebhookRow, row) for row in await db.fetch("webhook_list", tenant_id)]


async def remove(db: Database, tenant_id: str, webhook_id: UUID) -> None:
    """Remove a webhook; what was still to be sent to it is given up.

    Raises:
        NotFound: this tenant has no such webhook.
    """
    if await db.fetchrow("webhook_delete", tenant_id, webhook_id) is None:
        raise NotFound("webhook", str(webhook_id))


async def deliveries(
    db: Database,
    tenant_id: str,
    *,
    before: UUID | None,
    status: str | None,
    run_id: UUID | None,
    webhook_id: UUID | None,
    limit: int,
) -> list[DeliveryRow]:
    """A tenant's deliveries, newest first. ``status`` is pending, delivered or failed; None: any."""
    wanted = (tenant_id, before, run_id, webhook_id, limit)
    if status in ("pending", "failed"):
        rows = await db.fetch("delivery_list_undelivered", *wanted, status == "failed")
    else:
        rows = await db.fetch("delivery_list", *wanted, status == "delivered")
    return [row_as(DeliveryRow, row) for row in rows]


async def replay(db: Database, tenant_id: str, delivery_id: UUID) -> DeliveryRow:
    """Have a delivery sent again under its id, now and for as long as a new one. One that is being sent now stays as it is.

    Raises:
        NotFound: this tenant has no such delivery.
        Refused: ``webhook_removed``: there is no secret any more to sign it with.
    """
    read = await db.fetchrow("delivery_read", tenant_id, delivery_id)
    if read is None:
        raise NotFound("delivery", str(delivery_id))
    if not read["sendable"]:
        raise Refused("webhook_removed", f"the webhook of delivery {delivery_id} was removed")
    row = await db.fetchrow("delivery_replay", tenant_id, delivery_id)
    return row_as(DeliveryRow, row if row is not None else read)


async def claim(
    db: Database, *, lease_s: float, limit: int, busy: Mapping[str, int], per_target_max: int
) -> list[Claimed]:
    """Take deliveries that are due, fairly from all receivers.

    Args:
        db: the record.
        lease_s: for so long nobody else takes them.
        limit: how many at the most.
        busy: receivers that this process is sending to, and how many more each may get.
        per_target_max: how many any other receiver may get.
    """
    rows = await db.fetch("delivery_claim", lease_s, limit, list(busy), list(busy.values()), per_target_max)
    return [row_as(Claimed, row) for row in rows]


async def end_try(
    db: Database,
    claimed: Claimed,
    *,
    status: int | None,
    error: str | None,
    delivered: bool = False,
    again_in_s: float | None = None,
) -> bool:
    """Write what came of a try: delivered, to be tried again in some seconds, or (neither) given up. False: its lease is lost."""
    row = await db.fetchrow(
        "delivery_end", claimed.id, claimed.leased_until, status, error, delivered, None if delivered else again_in_s
    )
    return row is not None


async def overdue_s(db: Database) -> float:
    """For how long the oldest delivery that nobody is at has been due; 0 when none is."""
    row = await db.fetchrow("delivery_overdue")
    return float(row["overdue_s"] or 0.0) if row is not None else 0.0


async def forget(db: Database, *, keep_s: float, limit: int) -> int:
    """Delete deliveries that have been done for ``keep_s``, at most ``limit`` of them. Returns how many it deleted."""
    return len(await db.fetch("delivery_forget", keep_s, limit))
