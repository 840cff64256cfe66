"""The same picture of a run, taken of the record and of the model, so that the two can be compared."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.integration.store.record import Record
from tests.integration.store.world import Run, World

Picture = dict[UUID, dict[str, Any]]

# one statement, so that all of it is of one moment
_LOOK = """
SELECT r.id, r.status, r.attempt, r.run_owner_pod AS pod, r.run_owner_boot AS boot, r.crashes, r.terminal_event_id,
       r.cancel_requested_at IS NOT NULL AS cancel_requested, r.error ->> 'code' AS error_code, to_jsonb(r) AS columns,
       coalesce((SELECT jsonb_object_agg(s.position, jsonb_build_array(s.status, s.attempt, s.tries, s.last_event_id))
                 FROM steps s WHERE s.run_id = r.id), '{}') AS steps,
       coalesce((SELECT jsonb_object_agg(a.attempt, jsonb_build_array(a.pod, a.boot, a.ended_why))
                 FROM attempts a WHERE a.run_id = r.id), '{}') AS attempts,
       coalesce((SELECT jsonb_object_agg(w.position, jsonb_build_array(w.suspended, w.done_at IS NOT NULL, w.last_event_id))
                 FROM waits w WHERE w.run_id = r.id), '{}') AS waits, r.requeued_why,
       (SELECT count(*) FROM messages m WHERE m.run_id = r.id AND m.role = 'user') AS questions,
       (SELECT count(*) FROM messages m WHERE m.run_id = r.id AND m.role = 'assistant') AS answers,
       (SELECT jsonb_build_array(c.status, c.attempt, c.cancelling) FROM changes c WHERE c.run_id = r.id
        ORDER BY c.xid DESC, c.id DESC LIMIT 1) AS newest_change
FROM runs r WHERE r.id = ANY ($1::uuid[])
"""


async def of_record(record: Record, world: World) -> tuple[Picture, dict[UUID, Any]]:
    """The picture, and every column of each run."""
    rows = [dict(row) for row in await record.raw(_LOOK, list(world))]
    columns = {row["id"]: row.pop("columns") for row in rows}
    return {row.pop("id"): row for row in rows}, columns


def of_model(world: World) -> Picture:
    """The picture that the record should give."""
    return {run_id: _of_run(run) for run_id, run in world.items()}


def _of_run(run: Run) -> dict[str, Any]:
    state = run.state
    ended = state.status in ("completed", "failed", "cancelled")
    return {
        "status": state.status.value,
        "attempt": state.attempt,
        "pod": state.owner.pod if state.owner else None,
        "boot": state.owner.boot if state.owner else None,
        "crashes": state.crashes,
        "terminal_event_id": run.terminal_event_id,
        "cancel_requested": state.cancel_requested,
        "error_code": run.error_code,
        "steps": {at: [step.status, step.attempt, step.tries, step.last_event_id] for at, step in run.steps.items()},
        "attempts": {str(n): [owner.pod, str(owner.boot), why] for n, (owner, why) in run.ended.items()},
        "waits": {at: [wait.suspended, wait.done, wait.last_event_id] for at, wait in run.waits.items()},
        "requeued_why": run.requeued_why,
        "questions": 1 if run.ended else 0,
        "answers": 1 if ended and run.ended else 0,
        "newest_change": [state.status.value, state.attempt, state.status == "running" and state.cancel_requested],
    }
