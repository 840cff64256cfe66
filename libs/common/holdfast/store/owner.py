"""What an owner writes of its run: claim, journal, finish, release. Every write after the claim is fenced.

A fenced write that matches no row raises :class:`LostOwnership`. A write whose outcome is not known (the record went away) is
repeated until it is: each statement matches its own earlier effect again, or is read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from holdfast.errors import LostOwnership, Refused
from holdfast.runs import Lease, Outcome, Owner
from holdfast.store.database import Database, Row
from holdfast.store.rows import Abandoned, Claimed, Finished, JournalStep, RunRow, row_as


def _fence(lease: Lease) -> tuple[UUID, str, UUID, int]:
    return lease.run_id, lease.owner.pod, lease.owner.boot, lease.attempt


async def claim(db: Database, run_id: UUID, owner: Owner, agents: Mapping[str, str]) -> Claimed | None:
    """Take a queued run; None when it is not to be had (somebody has it, or its thread is busy): a normal outcome.

    Args:
        db: the record.
        run_id: which run.
        owner: who claims.
        agents: the names of the agents that the owner has loaded, each with its code version.
    """
    try:
        row = await db.fetchrow("run_claim", run_id, owner.pod, owner.boot, list(agents.keys()), list(agents.values()))
    except Refused as refused:
        if refused.code == "runs_thread_active":
            return None
        raise
    if row is None:
        return None
    abandoned = tuple(
        Abandoned(UUID(each["id"]), each["terminal_event_id"], each["error"], each["keep_through"])
        for each in row["abandoned"]
    )
    return Claimed(row_as(RunRow, row), row["from_pod"], row["from_why"], abandoned)


@dataclass(frozen=True, slots=True)
class Glance:
    """What there is to know of a run that could not be claimed."""

    status: str
    agent: str
    pool: str


async def glance(db: Database, run_id: UUID) -> Glance | None:
    """Why was a run not to be had? None: there is no such run."""
    row = await db.fetchrow("run_glance", run_id)
    return row_as(Glance, row) if row is not None else None


async def is_claimable(db: Database, run_id: UUID) -> bool:
    """Could a runner claim this run now?"""
    return await db.fetchrow("run_is_claimable", run_id) is not None


async def journal(db: Database, run_id: UUID) -> list[JournalStep]:
    """A run's steps, in order."""
    return [row_as(JournalStep, row) for row in await db.fetch("step_list", run_id)]


async def intend(
    db: Database, lease: Lease, *, position: str, kind: str, name: str, input_hash: bytes, tries: int
) -> None:
    """Journal that a step's work is about to start, for each try. May be repeated.

    Raises:
        LostOwnership: the run is not the writer's any more, or the step is finished (a late repeat).
    """
    row = await db.fetchrow("step_intent", *_fence(lease), position, kind, name, input_hash, tries)
    if row is None:
        raise LostOwnership(f"intent of step {position} of run {lease.run_id}")


async def checkpoint(
    db: Database,
    lease: Lease,
    *,
    position: str,
    output: Any = None,
    error: Mapping[str, str] | None = None,
    shown_text: str,
    last_event_id: str | None,
) -> None:
    """Journal a step's result; ``error`` makes it failed. May be repeated.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    status = "completed" if error is None else "failed"
    row = await db.fetchrow(
        "step_checkpoint", *_fence(lease), position, status, output, error, shown_text, last_event_id
    )
    if row is None:
        raise LostOwnership(f"checkpoint of step {position} of run {lease.run_id}")


async def finish(
    db: Database,
    lease: Lease,
    *,
    outcome: Outcome,
    output: Any = None,
    error: Mapping[str, str] | None = None,
    terminal_event_id: str,
    shown_text: str,
) -> Finished:
    """End the run. May be repeated: an end of this attempt that has landed is read back.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    row = await db.fetchrow("run_finish", *_fence(lease), outcome.value, output, error, terminal_event_id, shown_text)
    if row is not None:
        return row_as(Finished, row)
    return _own_end(await db.fetchrow("run_outcome_read", *_fence(lease)), lease, terminal_event_id)


async def release(db: Database, lease: Lease, *, next_event_id: str | None, shown_text: str | None) -> Finished:
    """Give the run back to the queue; a requested cancel ends it instead. May be repeated: one that has landed is read back.

    Args:
        db: the record.
        lease: whose run.
        next_event_id: of this attempt; None when the caller does not know what the attempt has shown (it has no task for it).
        shown_text: the text of all that was shown; None: what the record holds.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    row = await db.fetchrow("run_release", *_fence(lease), next_event_id, shown_text)
    if row is not None:
        return Finished(row["status"], None, None, row["next_id"], row["next_pool"])
    row = await db.fetchrow("run_outcome_read", *_fence(lease))
    if row is not None and row["released"]:
        return Finished("queued", None, None, lease.run_id, row["pool"])
    return _own_end(row, lease, next_event_id or f"{lease.attempt + 1}-1")


def _own_end(row: Row | None, lease: Lease, terminal_event_id: str) -> Finished:
    """The end that this very attempt has written before, read back; anybody else's is a loss."""
    if row is None or row["terminal_event_id"] != terminal_event_id:
        raise LostOwnership(f"end of run {lease.run_id}")
    return Finished(row["status"], row["output"], row["error"], None, None)


async def progress(db: Database, lease: Lease) -> None:
    """Say that events flow.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    if await db.fetchrow("run_progress", *_fence(lease)) is None:
        raise LostOwnership(f"progress of run {lease.run_id}")


async def owned(db: Database, owner: Owner, *, limit: int) -> list[tuple[UUID, int, bool]]:
    """The runs that the record gives to a boot: (run, attempt, cancel requested)."""
    rows = await db.fetch("run_list_owned", owner.pod, owner.boot, limit)
    return [(row["id"], row["attempt"], row["cancel_requested"]) for row in rows]


async def say_agents(
    db: Database, owner: Owner, pool: str, agents: Sequence[tuple[str, str, str, Mapping[str, Any]]]
) -> None:
    """Tell the gateways what this boot has loaded: (name, version, description, input schema) of each agent."""
    names, versions, descriptions, schemas = zip(*agents, strict=True) if agents else ((), (), (), ())
    await db.fetch(
        "agent_upsert",
        owner.pod,
        owner.boot,
        pool,
        list(names),
        list(versions),
        list(descriptions),
        [to_json(schema).decode() for schema in schemas],
    )
    await db.fetch("agent_prune", owner.pod, owner.boot)


async def said_before(db: Database, run: RunRow, *, limit: int) -> list[tuple[str, list[Mapping[str, Any]], str]]:
    """What was said on the run's thread by other runs, oldest first: (role, parts, status)."""
    rows = await db.fetch("message_list_before_run", run.tenant_id, run.thread_id, run.id, limit)
    return [(row["role"], row["parts"], row["status"]) for row in rows]
