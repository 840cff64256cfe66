"""Submits: a run with its thread and its idempotency key. Callers use it by ``caller``.

What comes at one time shares a statement. It makes the runs that are plain to make; who is told nothing by it asks alone, in a
transaction whose statements each see what the one before has waited for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from holdfast.errors import NotFound, Refused
from holdfast.runs import OnBusy, OnOwnerLost
from holdfast.store.database import Connection, Database, Row, json_text
from holdfast.store.queries import sql
from holdfast.store.rows import Ended, RunRow, row_as
from holdfast.store.webhooks import RunWebhook


@dataclass(frozen=True, slots=True)
class Submit:
    """A request for a run. ``thread_id`` is made when ``make_thread``; ``fingerprint`` goes with ``idempotency_key``."""

    run_id: UUID
    tenant_id: str
    thread_id: str
    make_thread: bool
    agent: str
    pool: str
    input: Any
    metadata: Mapping[str, Any]
    on_busy: OnBusy = OnBusy.ENQUEUE
    max_crashes: int = 5
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    on_owner_lost: OnOwnerLost = OnOwnerLost.RESUME
    on_unknown: str | None = None
    idle_timeout_s: int = 600
    deadline_s: float | None = None
    webhook: RunWebhook | None = None

    @property
    def stored_webhook(self) -> Mapping[str, Any] | None:
        """As the record keeps it."""
        return self.webhook.stored() if self.webhook is not None else None


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a submit made. ``created`` is False when the idempotency key had made the run before.

    ``position`` is the run's place on its thread (1: nothing before it). ``replaced`` is the run that it takes the place of.
    """

    run: RunRow
    created: bool
    position: int
    replaced: Ended | None


async def submit(db: Database, request: Submit) -> Submitted:
    """Insert a run, its thread and its idempotency key, all or nothing.

    Raises:
        NotFound: the thread does not exist and was not to be made.
        Refused: ``thread_busy`` (on_busy is reject), ``idempotency_mismatch`` (the key was used with another body).
    """
    if request.on_busy is OnBusy.ENQUEUE:
        with contextlib.suppress(Refused):  # said below, by the submit alone
            row = await db.together("submit", *_parameters(request))
            if row is not None:
                position = row["position"] or await _position(db, request.run_id)
                return Submitted(_queued(request, row), created=True, position=position, replaced=None)
    return await db.transact(lambda connection: _submit_alone(connection, request))


async def _position(db: Database, run_id: UUID) -> int:
    row = await db.together("run_place", run_id)
    return row["position"] if row is not None else 1  # it is gone already, with its thread


def _parameters(request: Submit) -> tuple[Any, ...]:
    """Of one run, in the order of ``submit.sql``."""
    return (
        request.run_id,
        request.tenant_id,
        request.thread_id,
        request.make_thread,
        request.agent,
        request.pool,
        json_text(request.input),
        json_text(request.metadata),
        request.max_crashes,
        str(request.on_owner_lost),
        request.on_unknown,
        request.idle_timeout_s,
        request.deadline_s,
        json_text(request.stored_webhook),
        request.idempotency_key,
        request.fingerprint,
    )


def _queued(request: Submit, row: Row) -> RunRow:
    """A run as it was just made: what its submit said, and the record's times."""
    return RunRow(
        id=request.run_id,
        tenant_id=request.tenant_id,
        thread_id=request.thread_id,
        agent=request.agent,
        pool=request.pool,
        status="queued",
        attempt=0,
        run_owner_pod=None,
        run_owner_boot=None,
        crashes=0,
        max_crashes=request.max_crashes,
        on_owner_lost=str(request.on_owner_lost),
        input=request.input,
        output=None,
        error=None,
        metadata=request.metadata,
        created_at=row["created_at"],
        queued_at=row["queued_at"],
        claimed_at=None,
        last_progress_at=None,
        cancel_requested_at=None,
        finished_at=None,
        terminal_event_id=None,
        deadline_at=row["deadline_at"],
        idle_timeout_s=request.idle_timeout_s,
        on_unknown=request.on_unknown,
    )


async def _submit_alone(connection: Connection[Row], request: Submit) -> Submitted:
    tenant, thread = request.tenant_id, request.thread_id
    # The thread, then the key, as many together do it. A thread that is not there yet is made behind the key: a submit that is
    # repeated makes none.
    locked = await connection.fetchrow(sql("thread_lock"), tenant, thread) is not None
    if request.idempotency_key is not None:
        earlier = await _take_key(connection, request)
        if earlier is not None:
            return Submitted(earlier, created=False, position=0, replaced=None)
    if not locked:
        await _make_thread(connection, request)
    replaced = None
    if request.on_busy is not OnBusy.ENQUEUE:
        replaced = await _meet_busy(connection, request)
    row = await connection.fetchrow(
        sql("run_insert"),
        tenant,
        thread,
        request.agent,
        request.pool,
        request.input,
        request.metadata,
        request.run_id,
        request.max_crashes,
        replaced is not None,
        str(request.on_owner_lost),
        request.on_unknown,
        request.idle_timeout_s,
        request.deadline_s,
        request.stored_webhook,
    )
    assert row is not None
    position = 1 if replaced is not None else row["position"] + 1
    return Submitted(row_as(RunRow, row), created=True, position=position, replaced=replaced)


async def _make_thread(connection: Connection[Row], request: Submit) -> None:
    tenant, thread = request.tenant_id, request.thread_id
    if request.make_thread:
        made = await connection.fetchrow(sql("thread_insert"), tenant, thread, {})
        if made is not None or await connection.fetchrow(sql("thread_lock"), tenant, thread) is not None:
            return
    raise NotFound("thread", thread)


async def _take_key(connection: Connection[Row], request: Submit) -> RunRow | None:
    """None when the key is ours now, else the run that it made before."""
    tenant, key = request.tenant_id, request.idempotency_key
    if (
        await connection.fetchrow(sql("idempotency_insert"), tenant, key, request.fingerprint, request.run_id)
        is not None
    ):
        return None
    row = await connection.fetchrow(sql("idempotency_read"), tenant, key)
    if row is None:  # forgotten at this moment
        return await _take_key(connection, request)
    if row["fingerprint"] != request.fingerprint:
        raise Refused("idempotency_mismatch", "this Idempotency-Key was used with another request body")
    run = await connection.fetchrow(sql("run_read"), tenant, row["run_id"])
    return row_as(RunRow, run) if run is not None else await _take_key(connection, request)


async def _meet_busy(connection: Connection[Row], request: Submit) -> Ended | None:
    """Refuse, or cancel the run whose place the new one takes. One that is to end already has given its place away before."""
    active = await connection.fetch(sql("run_list_active"), request.tenant_id, request.thread_id)
    if request.on_busy is OnBusy.REJECT:
        if any(row["status"] != "interrupted" for row in active):
            raise Refused("thread_busy", f"thread {request.thread_id!r} has an active run, and on_busy is reject")
        return None
    for row in active:
        if row["status"] in ("running", "waiting") and row["cancel_requested_at"] is None:
            ended = await connection.fetchrow(sql("run_cancel"), request.tenant_id, row["id"], None)
            return row_as(Ended, ended) if ended is not None else None
    return None
