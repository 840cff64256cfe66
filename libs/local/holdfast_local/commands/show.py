"""``holdfast show``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, json_option, print_json, run_argument
from holdfast_local.listing import age, between, printable, table
from holdfast_local.questions import asked, is_question, way_on, ways_to_answer

if TYPE_CHECKING:
    from holdfast_local.api import Gateway

_ROWS_MAX = 10_000
_CLIP_LENGTH = 400


@click.command("show", short_help="Show a run with its attempts and its journal.")
@run_argument
@json_option
@gateway_options
def command(run_id: UUID, as_json: bool, url: str | None, key: str | None) -> None:
    """Show RUN: what was asked, how it stands and what it waits for, every attempt with why it ended, and its journal.

    A step is "unknown" when nobody knows whether it was done: its runner was lost between its beginning and its result.

    Long values are clipped; --json prints {"run", "attempts", "steps"} whole.
    """

    async def work(gateway: Gateway) -> dict[str, Any]:
        path = f"/v1/runs/{run_id}"
        return {
            "run": await gateway.run(str(run_id)),
            "attempts": await gateway.items(f"{path}/attempts", limit=_ROWS_MAX),
            "steps": await gateway.items(f"{path}/steps", limit=_ROWS_MAX),
        }

    found = call(url, key, work)
    if as_json:
        print_json(found)
        return
    run, steps = found["run"], found["steps"]
    for line in [*_about(run), *_waits(run), *_attempts(found["attempts"]), *_steps(steps), *_failed_tries(steps)]:
        click.echo(line)


def _about(run: Mapping[str, Any]) -> Iterator[str]:
    error = run.get("error")
    owner = run.get("run_owner_pod")
    facts = {
        "run": run["id"],
        "thread": run["thread_id"],
        "agent": run["agent"],
        "parent": run.get("parent_run_id"),
        "fork of": run.get("forked_from"),
        "status": f"{run['status']}, owned by {owner}" if owner else run["status"],
        "attempt": f"{run['attempt']} (crashes since its last step: {run['crashes']})"
        if run.get("crashes")
        else run["attempt"],
        "created": _when(run.get("created_at")),
        "claimed": _when(run.get("claimed_at")),
        "progress": _when(run.get("last_progress_at")),
        "cancelled": _when(run.get("cancel_requested_at")),
        "deadline": run.get("deadline_at"),
        "finished": _when(run.get("finished_at")),
        "input": _clipped(run.get("input")),
        "output": _clipped(run.get("output")),
        "error": f"{error['code']}: {error['message']}" if error else None,
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            yield f"{name.ljust(width)}  {printable(str(value))}"
    if run["status"] == "interrupted":
        yield from ["", way_on(run["id"], run.get("error"))]


def _waits(run: Mapping[str, Any]) -> Iterator[str]:
    waits = run.get("waiting") or ()
    titles = ("STEP", "KIND", "SINCE", "FOR")
    rows = [(each["position"], each["kind"], age(each.get("since")), asked(each)) for each in waits]
    yield from ["", "waiting:", *table(titles, rows, indent="  ")] if rows else []
    questions = [each for each in waits if is_question(each)]
    for each in questions:
        yield from (f"  {way}" for way in ways_to_answer(str(run["id"]), each, alone=len(questions) == 1))


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    titles = ("ATTEMPT", "RUNNER", "STARTED", "LASTED", "ENDED BY", "BOOT")
    rows = [
        (
            each["attempt"],
            each["pod"],
            age(each["started_at"]),
            between(each["started_at"], each.get("ended_at")),
            each.get("ended_why"),
            each["boot"],
        )
        for each in attempts
    ]
    yield from ["", "attempts:", *table(titles, rows, indent="  ")] if rows else ["", "attempts: none yet"]


def _steps(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    titles = ("STEP", "KIND", "NAME", "STATUS", "TRIES", "ATTEMPT", "STARTED", "LASTED")
    rows = [
        (
            each["position"],
            each["kind"],
            each["name"],
            _status_of(each),
            each["tries"],
            each["attempt"],
            age(each["started_at"]),
            between(each["started_at"], each.get("finished_at")),
        )
        for each in steps
    ]
    yield from ["", "journal:", *table(titles, rows, indent="  ")] if rows else ["", "journal: no steps"]


def _status_of(step: Mapping[str, Any]) -> str:
    if step.get("unknown"):
        return "unknown"
    if step.get("error"):
        return f"failed ({step['error']['code']})"
    return "to be run again" if step["status"] == "retry" else str(step["status"])


def _failed_tries(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    titles = ("STEP", "TRY", "CODE", "MESSAGE", "AT")
    rows = [
        (step["position"], each.get("try"), each.get("code"), each.get("message"), age(each.get("at")))
        for step in steps
        for each in step.get("errors") or ()
    ]
    yield from ["", "failed tries:", *table(titles, rows, indent="  ")] if rows else []


def _when(timestamp: str | None) -> str | None:
    return None if timestamp is None else f"{timestamp} ({age(timestamp)})"


def _clipped(value: object) -> str | None:
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CLIP_LENGTH else f"{text[:_CLIP_LENGTH]}… ({len(text)} characters)"
