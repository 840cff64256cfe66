"""``holdfast fork``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, note, print_json, run_argument, watch, way_to_show

if TYPE_CHECKING:
    from holdfast_local.api import Gateway


@click.command("fork", short_help="Make a new run from one that has ended.")
@run_argument
@click.option(
    "--from-position",
    metavar="P",
    help="Keep the finished steps before this one and do the rest anew. Default: keep all that are finished.",
)
@click.option(
    "--thread",
    metavar="ID",
    help="The conversation of the new run; one of that id is made if there is none. Default: the same, where it takes the "
    "place of the old one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as they come, one JSON object per line.")
@click.option("--detach", is_flag=True, help="Fork only, and print the new run's id (with --json: the run).")
@gateway_options
def command(
    *,
    run_id: UUID,
    from_position: str | None,
    thread: str | None,
    as_json: bool,
    detach: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Make a new run from RUN, which has ended or was interrupted, and follow it to its end as `holdfast run` does.

    Steps that are kept are not done again: the new run has their results. `holdfast show` lists the positions of a run's steps.

    \b
    Exit codes: 0 completed, 1 failed (or an error), 3 cancelled,
    4 interrupted, 130 Ctrl-C.
    """

    async def work(gateway: Gateway) -> int:
        run = await gateway.fork(str(run_id), from_position=from_position, thread_id=thread)
        if detach:
            if as_json:
                print_json(run)
            else:
                click.echo(run["id"])
            return 0
        note(f"run {run['id']}")
        return await watch(gateway, run["id"], way_to_show(as_json=as_json))

    sys.exit(call(url, key, work))
