"""What an owner writes of its run: claim, journal, suspend, finish, release. Every write after the claim is fenced.

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
from holdfast.store.database import Database, Row, json_text
from holdfast.store.rows import (
    Abandoned,
    AgentRow,
    Claimed,
    Finished,
    Journaled,
    JournalStep,
    KeptText,
    RunRow,
    WaitRow,
    row_as,
)


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
    return (await claim_all(db, [run_id], owner, agents)).get(run_id)


async def claim_all(
    db: Database, run_ids: Sequence[UUID], owner: Owner, agents: Mapping[str, str]
) -> dict[UUID, Claimed]:
    """Take those of some queued runs that are to be had, in one statement. A run whose row somebody has locked is not, just now.

    Raises:
        Refused: of several, at least one cannot be had: none was taken.
    """
    try:
        rows = await db.fetch(
            "run_claim", list(run_ids), owner.pod, owner.boot, list(agents.keys()), list(agents.values())
        )
    except Refused as refused:
        if len(run_ids) == 1 and refused.code == "runs_thread_active":
            return {}
        raise
    return {row["id"]: _claimed(row) for row in rows}


def _claimed(row: Row) -> Claimed:
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


async def journal(db: Database, run_id: UUID) -> Journaled:
    """A run's journal, for its owner's replay.

    Waits are read before steps: an answer may land in between, and a step that is finished though its wait looks open is only
    ahead of it, while an open step whose wait looks done would be a riddle.
    """
    waits = [row_as(WaitRow, row) for row in await db.fetch("wait_list_run", run_id)]
    kept = [row_as(KeptText, row) for row in await db.fetch("attempt_list_kept", run_id)]
    return Journaled([row_as(JournalStep, row) for row in await db.fetch("step_list", run_id)], kept, waits)


async def intend(
    db: Database,
    lease: Lease,
    *,
    position: str,
    kind: str,
    name: str,
    input_hash: bytes,
    tries: int,
    call_id: str | None = None,
    input: Any = None,
    code_version: str = "",
    timeout_s: float | None = None,
    recorded: Sequence[Any] = (),
    failure: Mapping[str, Any] | None = None,
) -> None:
    """Journal that a step's work is about to start, for each try. May be repeated.

    Args:
        db: the record.
        lease: whose run.
        position, kind, name, input_hash: which step; the last three must be as the journal has them.
        tries: which try of it, from 1.
        call_id: the tool call that it answers.
        input: what people are shown of it.
        code_version: of the agent that intends it.
        timeout_s: how long the try may take before it counts as a stall.
        recorded: what was recorded since the intent before; added to the step's list, once for each try.
        failure: ``{try, code, message}`` of the try before; added to the step's errors, once.

    Raises:
        LostOwnership: the run is not the writer's any more, or the step is finished (a late repeat).
    """
    row = await db.together(
        "step_intent",
        *_fence(lease),
        position,
        kind,
        name,
        input_hash,
        tries,
        call_id,
        json_text(input),
        code_version,
        timeout_s,
        json_text(list(recorded)),
        json_text(failure),
    )
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
    finish_id: str | None = None,
    emits: Any = None,
    recorded: Sequence[Any] = (),
    failure: Mapping[str, Any] | None = None,
) -> None:
    """Journal a step's result; ``error`` makes it failed. May be repeated.

    Args:
        db: the record.
        lease: whose run.
        position: which step.
        output: its result, a JSON value.
        error: ``{code, message}`` when it failed for good.
        shown_text: the text that counts with this step.
        last_event_id: of its last event in the log; None when the log lost it.
        finish_id: of that event in any case; None: ``last_event_id``.
        emits: the runner's own, for replays.
        recorded: added to the step's list, once.
        failure: ``{try, code, message}`` of its last try, added to the step's errors, once.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    status = "completed" if error is None else "failed"
    row = await db.together(
        "step_checkpoint",
        *_fence(lease),
        position,
        status,
        json_text(output),
        json_text(error),
        shown_text,
        last_event_id,
        finish_id or last_event_id,
        json_text(emits),
        json_text(list(recorded)),
        json_text(failure),
    )
    if row is None:
        raise LostOwnership(f"checkpoint of step {position} of run {lease.run_id}")


async def agent_of(db: Database, name: str) -> AgentRow | None:
    """What the runners say of an agent, the newest word of it; None: nobody has loaded it."""
    row = await db.fetchrow("agent_read", name)
    return row_as(AgentRow, row) if row is not None else None


async def fresh_id(db: Database) -> UUID:
    """An id for a child run, by the record's clock."""
    row = await db.fetchrow("id_fresh")
    assert row is not None
    return UUID(str(row["id"]))


@dataclass(frozen=True, slots=True)
class Child:
    """A run that another one starts and waits for. Its thread is its own: ``child-<run id>``."""

    run_id: UUID
    agent: str
    pool: str
    input: Any
    metadata: Mapping[str, Any]


async def open_wait(
    db: Database,
    lease: Lease,
    *,
    wait_id: UUID,
    position: str,
    kind: str,
    name: str,
    input_hash: bytes,
    code_version: str = "",
    question: Any = None,
    schema: Any = None,
    seconds: float | None = None,
    child: Child | None = None,
    recorded: Sequence[Any] = (),
    failure: Mapping[str, Any] | None = None,
) -> WaitRow:
    """Journal what the run is about to wait for. May be repeated: a wait that is there stays as it is, its time too.

    Args:
        db: the record.
        lease: whose run.
        wait_id: the question's id.
        position, name, input_hash, code_version: of the step that waits; it is made when it is not there, unless ``unknown``.
        kind: ``ask``, ``sleep``, ``child`` (a step of that kind) or ``unknown`` (the step is there; its end is not known).
        question, schema: what people are asked, and what an answer has to look like.
        seconds: how long to sleep, by the record's clock.
        child: the run to wait for; it is made once.
        recorded: added to the wait's list.
        failure: of an ``unknown`` step's try: ``{try, code, message}``, added to the step's errors, once.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    row = await db.fetchrow(
        "wait_open",
        *_fence(lease),
        wait_id,
        position,
        kind,
        name,
        input_hash,
        code_version,
        question,
        schema,
        seconds,
        list(recorded),
        child.run_id if child is not None else None,
        child.agent if child is not None else None,
        child.pool if child is not None else None,
        child.input if child is not None else None,
        child.metadata if child is not None else None,
        failure,
    )
    if row is None:
        raise LostOwnership(f"wait at {position} of run {lease.run_id}")
    return row_as(WaitRow, row)


async def suspend(
    db: Database,
    lease: Lease,
    *,
    waits: Sequence[tuple[UUID, str, str | None]],
    next_event_id: str,
    shown_text: str,
    finish_id: str | None,
    last_event_id: str | None,
    emits: Any = None,
    recorded: Sequence[Any] = (),
) -> Finished:
    """Leave the run waiting, without an owner. May be repeated: one that has landed is read back.

    Args:
        db: the record.
        lease: whose run.
        waits: what it waits for: (id, the id of its ``run.waiting``, the same or None when the log lost that).
        next_event_id: of this attempt: the terminal event's, should a cancel have been requested.
        shown_text, finish_id, last_event_id, emits: what was shown outside of steps since the last finished one, and up to
            which event.
        recorded: values that are recorded and not written yet.

    Returns:
        ``waiting``; ``queued`` when one of the waits is over already (``next_id`` is then the run itself); ``cancelled`` when
        that was requested.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    if not waits:
        raise ValueError("a run cannot wait for nothing")
    ids, finish_ids, last_event_ids = zip(*waits, strict=True)
    row = await db.fetchrow(
        "run_suspend",
        *_fence(lease),
        list(ids),
        list(finish_ids),
        list(last_event_ids),
        next_event_id,
        shown_text,
        finish_id,
        last_event_id,
        emits,
        list(recorded),
    )
    if row is not None:
        return Finished(row["status"], None, None, row["next_id"], row["next_pool"], row["parent_run_id"])
    row = await db.fetchrow("run_outcome_read", *_fence(lease))
    if row is not None and row["attempt_ended_why"] == "waiting":
        if row["status"] == "queued":
            return Finished("queued", None, None, lease.run_id, row["pool"], row["parent_run_id"])
        return Finished("waiting", None, None, None, None, row["parent_run_id"])
    return _own_end(row, lease, next_event_id)


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
    """End the run, or interrupt it. May be repeated: an end of this attempt that has landed is read back.

    Args:
        db: the record.
        lease: whose run.
        outcome: what the owner says; a requested cancel wins over it.
        output: of a completed run.
        error: ``{code, message}`` of a failed or an interrupted run.
        terminal_event_id: the owner's own next id.
        shown_text: the text that was shown beyond the finished steps and what earlier suspends kept.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    row = await db.together(
        "run_finish",
        *_fence(lease),
        outcome.value,
        json_text(output),
        json_text(error),
        terminal_event_id,
        shown_text,
    )
    if row is not None:
        return row_as(Finished, row)
    return _own_end(await db.fetchrow("run_outcome_read", *_fence(lease)), lease, terminal_event_id)


async def release(db: Database, lease: Lease, *, next_event_id: str | None, shown_text: str | None) -> Finished:
    """Give the run back to the queue; a requested cancel ends it instead. May be repeated: one that has landed is read back.

    Args:
        db: the record.
        lease: whose run.
        next_event_id: of this attempt; None when the caller does not know what the attempt has shown (it has no task for it).
        shown_text: the text that was shown beyond the finished steps and what earlier suspends kept; None: not known.

    Raises:
        LostOwnership: the run is not the writer's any more.
    """
    row = await db.fetchrow("run_release", *_fence(lease), next_event_id, shown_text)
    if row is not None:
        return Finished(row["status"], None, None, row["next_id"], row["next_pool"], row["parent_run_id"])
    row = await db.fetchrow("run_outcome_read", *_fence(lease))
    if row is not None and row["attempt_ended_why"] == "released":
        return Finished("queued", None, None, lease.run_id, row["pool"], row["parent_run_id"])
    return _own_end(row, lease, next_event_id or f"{lease.attempt + 1}-1")


def _own_end(row: Row | None, lease: Lease, terminal_event_id: str) -> Finished:
    """The end that this very attempt has written before, read back; anybody else's is a loss."""
    if row is None or row["terminal_event_id"] != terminal_event_id:
        raise LostOwnership(f"end of run {lease.run_id}")
    return Finished(row["status"], row["output"], row["error"], None, None, row["parent_run_id"])


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
    """What was said on the run's thread by other runs, oldest first: (role, parts, status). Of a fork: as its original saw it."""
    rows = await db.fetch("message_list_before_run", run.tenant_id, run.thread_id, run.id, run.history_until, limit)
    return [(row["role"], row["parts"], row["status"]) for row in rows]
