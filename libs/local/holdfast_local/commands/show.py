"""``holdfast show``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, json_option, print_json, run_argument
from holdfast_local.listing import age, between, printable, table

if TYPE_CHECKING:
    from holdfast_local.api import Gateway

_ROWS_MAX = 10_000
_CLIP_LENGTH = 400


@click.command("show", short_help="Show a run with its attempts and its journal.")
@run_argument
@json_option
@gateway_options
def command(run_id: UUID, as_json: bool, url: str | None, key: str | None) -> None:
    """Show RUN: what was asked, how it stands, every attempt with why it ended, and the steps of its journal.

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
    for line in [*_about(found["run"]), *_attempts(found["attempts"]), *_steps(found["steps"])]:
        click.echo(line)


def _about(run: Mapping[str, Any]) -> Iterator[str]:
    error = run.get("error")
    owner = run.get("run_owner_pod")
    facts = {
        "run": run["id"],
        "thread": run["thread_id"],
        "agent": run["agent"],
        "status": f"{run['status']}, owned by {owner}" if owner else run["status"],
        "attempt": f"{run['attempt']} (crashes since its last step: {run['crashes']})"
        if run.get("crashes")
        else run["attempt"],
        "created": _when(run.get("created_at")),
        "claimed": _when(run.get("claimed_at")),
        "progress": _when(run.get("last_progress_at")),
        "cancelled": _when(run.get("cancel_requested_at")),
        "finished": _when(run.get("finished_at")),
        "input": _clipped(run.get("input")),
        "output": _clipped(run.get("output")),
        "error": f"{error['code']}: {error['message']}" if error else None,
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            yield f"{name.ljust(width)}  {printable(str(value))}"


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
            f"failed ({each['error']['code']})" if each.get("error") else each["status"],
            each["tries"],
            each["attempt"],
            age(each["started_at"]),
            between(each["started_at"], each.get("finished_at")),
        )
        for each in steps
    ]
    yield from ["", "journal:", *table(titles, rows, indent="  ")] if rows else ["", "journal: no steps"]


def _when(timestamp: str | None) -> str | None:
    return None if timestamp is None else f"{timestamp} ({age(timestamp)})"


def _clipped(value: object) -> str | None:
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CLIP_LENGTH else f"{text[:_CLIP_LENGTH]}… ({len(text)} characters)"
