"""A submit: which agent, is the input what it takes, the insert, and what follows the commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast import metrics
from holdfast.logs import get_logger
from holdfast.runs import OnBusy, OnOwnerLost
from holdfast.store import caller
from holdfast.store.caller import Submit, Submitted
from holdfast.store.webhooks import RunWebhook
from holdfast_gateway.ids import new_id
from holdfast_gateway.parts import Parts

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that somebody wants. ``fingerprint`` tells one request from another under the same idempotency key."""

    tenant_id: str
    thread_id: str
    make_thread: bool
    agent: str
    input: Any
    metadata: Mapping[str, Any]
    on_busy: OnBusy
    on_owner_lost: OnOwnerLost
    on_unknown: str | None
    max_crashes: int
    idle_timeout_s: int
    deadline_s: float | None
    idempotency_key: str | None
    fingerprint: bytes
    webhook: RunWebhook | None = None
    operator: bool = False
    """Whether an operator's key asks: it may have messages sent to this machine."""


def fingerprint_of(path: str, body: Mapping[str, Any]) -> bytes:
    """The same for the same request: the path, and the body in one canonical form."""
    canonical = json.dumps([path, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).digest()


async def submit(parts: Parts, wanted: Wanted) -> Submitted:
    """Have a run made, and tell those who wait for one.

    Raises:
        UnknownAgent, InvalidInput, TargetRefused: the request cannot be right.
        NotFound: the thread does not exist.
        Refused: ``thread_busy``, ``idempotency_mismatch``, ``invalid_value``.
        StoreUnavailable: the record is away; whether the run was made is not known, and the same key will tell.
    """
    agent = await parts.agents.find(wanted.agent)
    parts.agents.check(agent, wanted.input)
    if wanted.webhook is not None:
        await parts.webhook_gate.check(wanted.webhook.url, operator=wanted.operator)
    submitted = await caller.submit(
        parts.record.db,
        Submit(
            run_id=new_id(),
            tenant_id=wanted.tenant_id,
            thread_id=wanted.thread_id,
            make_thread=wanted.make_thread,
            agent=agent.name,
            pool=agent.pool,
            input=wanted.input,
            metadata=wanted.metadata,
            on_busy=wanted.on_busy,
            on_owner_lost=wanted.on_owner_lost,
            on_unknown=wanted.on_unknown,
            max_crashes=wanted.max_crashes,
            idle_timeout_s=wanted.idle_timeout_s,
            deadline_s=wanted.deadline_s,
            idempotency_key=wanted.idempotency_key,
            fingerprint=wanted.fingerprint,
            webhook=wanted.webhook,
        ),
    )
    metrics.SUBMITS.labels(created=str(submitted.created).lower()).inc()
    run = submitted.run
    log.info("run.submitted", run_id=str(run.id), thread_id=run.thread_id, agent=run.agent, created=submitted.created)
    if submitted.created:
        await parts.announcer.submitted(submitted)
    elif run.status == "queued":
        await parts.announcer.asked_again(run.pool, run.id)
    return submitted
