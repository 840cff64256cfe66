"""``holdfast ps``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from holdfast_local.calling import call, gateway_options, json_option, note, print_json
from holdfast_local.listing import age, between, table
from holdfast_local.questions import summary

if TYPE_CHECKING:
    from holdfast_local.api import Gateway

_ACTIVE = ("queued", "running", "waiting", "interrupted")
_ENDED = ("completed", "failed", "cancelled")
_RECENT_COUNT = 5
_TITLES = ("RUN", "STATUS", "AGENT", "RUNNER", "ATTEMPT", "CREATED", "LASTED", "THREAD")


@click.command("ps", short_help="List runs.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice([*_ACTIVE, *_ENDED]), help="Only these; may be repeated."
)
@click.option("--agent", metavar="NAME", help="Only those of this agent.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    metavar="N",
    type=click.IntRange(1, 10_000),
    help="At most so many, the newest.",
)
@click.option("--all", "of_any", is_flag=True, help="Of any status, not only active ones and the last few.")
@json_option
@gateway_options
def command(
    *,
    statuses: Sequence[str],
    agent: str | None,
    limit: int,
    of_any: bool,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """List runs, newest first: by default those that are active, and the last few that have ended.

    A run that waits says for what: ask (see `holdfast answer`), unknown (the same), sleep or child.
    """

    async def work(gateway: Gateway) -> list[dict[str, Any]]:
        if of_any or statuses:
            return await gateway.runs(statuses=statuses, agent=agent, limit=limit + 1)
        active = await gateway.runs(statuses=_ACTIVE, agent=agent, limit=limit + 1)
        ended = await gateway.runs(statuses=_ENDED, agent=agent, limit=_RECENT_COUNT)
        once = {run["id"]: run for run in [*active, *ended]}  # one may have ended in between
        return sorted(once.values(), key=lambda run: str(run["id"]), reverse=True)

    runs = call(url, key, work)
    shown = runs[:limit]
    if as_json:
        print_json(shown)
        return
    for line in table(_TITLES, [_row(run) for run in shown]) if shown else ["no runs"]:
        click.echo(line)
    if len(runs) > limit:
        note("there are more: see --limit")


def _row(run: Mapping[str, Any]) -> tuple[object, ...]:
    error = run.get("error")
    why = error["code"] if error else summary(run.get("waiting") or ())
    status = f"{run['status']} ({why})" if why else run["status"]
    return (
        run["id"],
        status,
        run["agent"],
        run.get("run_owner_pod"),
        run["attempt"],
        age(run["created_at"]),
        between(run["created_at"], run.get("finished_at")),
        run["thread_id"],
    )
