"""Routes of webhooks and their deliveries. A secret is answered once, by the request that adds its webhook."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from holdfast.logs import get_logger
from holdfast.store import webhooks as record
from holdfast.store.webhooks import DeliveryRow, WebhookRow
from holdfast_gateway.http.answers import CONFLICT, NOT_FOUND, PROBLEMS, answer, page
from holdfast_gateway.http.dependencies import CallerOf, PartsOf
from holdfast_gateway.http.models import Answered, Page
from holdfast_gateway.http.pages import Cursor, Limit, cut, place_of
from holdfast_gateway.http.wanted import WebhookWanted
from holdfast_gateway.webhooks.signing import message_id, new_secret

log = get_logger(__name__)
router = APIRouter(tags=["webhooks"])
DeliveryStatus = Literal["pending", "delivered", "failed"]


class Webhook(Answered):
    """Who is told of every run of the tenant."""

    id: UUID
    url: str
    events: list[str]
    description: str
    created_at: datetime

    @classmethod
    def of(cls, row: WebhookRow) -> Webhook:
        """A row, as it is shown."""
        return cls.model_validate(row, from_attributes=True)


class WebhookAdded(Webhook):
    """A webhook that was added, with its secret: keep it, it is not shown again."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class Delivery(Answered):
    """A message to one receiver."""

    id: UUID
    message_id: str = Field(description="its `webhook-id` header, the same at each try", examples=["msg_019a9b1e-…"])
    webhook_id: UUID | None = Field(description="null: of the run alone")
    run_id: UUID
    url: str
    event: str
    status: DeliveryStatus
    payload: str = Field(description="what is sent, the same bytes at each try")
    created_at: datetime
    tries: int
    next_at: datetime | None = Field(description="the next try, or the one that is under way; null: there is none")
    delivered_at: datetime | None
    gave_up_at: datetime | None
    last_status: int | None = Field(description="of the receiver's last answer; null: there was none")
    last_error: str | None = Field(description="why the last try failed; null: it did not")

    @classmethod
    def of(cls, row: DeliveryRow) -> Delivery:
        """A row, as it is shown."""
        status: DeliveryStatus = "pending"
        if row.next_at is None:
            status = "delivered" if row.delivered_at is not None else "failed"
        return cls(
            id=row.id,
            message_id=message_id(row.id),
            webhook_id=row.webhook_id,
            run_id=row.run_id,
            url=row.url,
            event=row.event,
            status=status,
            payload=row.payload,
            created_at=row.created_at,
            tries=row.tries,
            next_at=row.next_at,
            delivered_at=row.delivered_at,
            gave_up_at=row.gave_up_at,
            last_status=row.last_status,
            last_error=row.last_error,
        )


@router.post("/webhooks", status_code=201, response_model=WebhookAdded, responses=CONFLICT | PROBLEMS)
async def add_webhook(body: WebhookWanted, caller: CallerOf, parts: PartsOf) -> Response:
    """Have a server of yours told of every run. The answer has the secret, which is not shown again."""
    await parts.webhook_gate.check(body.url, operator=caller.operator)
    secret = body.secret or new_secret()
    row = await record.add(
        parts.record.db,
        caller.tenant_id,
        url=body.url,
        events=body.events,
        description=body.description,
        secret=secret,
    )
    log.info("webhook.added", webhook=str(row.id), events=row.events)
    return answer(WebhookAdded(**Webhook.of(row).model_dump(), secret=secret), 201)


@router.get("/webhooks", response_model=Page[Webhook], responses=PROBLEMS)
async def list_webhooks(caller: CallerOf, parts: PartsOf) -> Response:
    """The tenant's webhooks, oldest first, without their secrets. All of them on one page."""
    return page([Webhook.of(row) for row in await record.webhooks(parts.record.db, caller.tenant_id)])


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=NOT_FOUND | PROBLEMS)
async def remove_webhook(webhook_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Remove a webhook. What was still to be sent to it is given up; a message that is on its way may still arrive."""
    await record.remove(parts.record.db, caller.tenant_id, webhook_id)
    log.info("webhook.removed", webhook=str(webhook_id))
    return Response(status_code=204)


@router.get("/webhooks/deliveries", response_model=Page[Delivery], responses=PROBLEMS)
async def list_deliveries(
    *,
    caller: CallerOf,
    parts: PartsOf,
    status: Annotated[DeliveryStatus | None, Query()] = None,
    run_id: Annotated[UUID | None, Query()] = None,
    webhook_id: Annotated[UUID | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Deliveries, newest first: those to come, and those of the last 30 days."""
    rows = await record.deliveries(
        parts.record.db,
        caller.tenant_id,
        before=place_of("deliveries", cursor, UUID, None),
        status=status,
        run_id=run_id,
        webhook_id=webhook_id,
        limit=limit + 1,
    )
    shown, next_cursor = cut(rows, limit, "deliveries", lambda row: row.id)
    return page([Delivery.of(row) for row in shown], next_cursor)


@router.post(
    "/webhooks/deliveries/{delivery_id}/replay",
    status_code=202,
    response_model=Delivery,
    responses=NOT_FOUND | CONFLICT | PROBLEMS,
)
async def replay_delivery(delivery_id: UUID, caller: CallerOf, parts: PartsOf) -> Response:
    """Send a delivery again, under the same message id, whatever became of it. One that is being sent now stays as it is."""
    row = await record.replay(parts.record.db, caller.tenant_id, delivery_id)
    log.info("webhook.replayed", delivery=str(row.id), run_id=str(row.run_id))
    return answer(Delivery.of(row), 202)
