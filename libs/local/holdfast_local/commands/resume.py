"""``holdfast resume``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, print_json, run_argument, watch, way_to_show

if TYPE_CHECKING:
    from holdfast_local.api import Gateway


@click.command("resume", short_help="Let an interrupted run go on.")
@run_argument
@click.option("--json", "as_json", is_flag=True, help="Print events as they come, one JSON object per line.")
@click.option("--detach", is_flag=True, help="Resume only, and print the run's id (with --json: the run).")
@gateway_options
def command(run_id: UUID, as_json: bool, detach: bool, url: str | None, key: str | None) -> None:
    """Let RUN, which was interrupted, go on from its last finished step, and follow it to its end as `holdfast run` does.

    What it has shown before is shown again first. `holdfast show` tells what was finished and what is unknown. A run that has
    ended cannot be resumed: `holdfast fork` makes a new one from it.

    \b
    Exit codes: 0 completed, 1 failed (or an error), 3 cancelled,
    4 interrupted, 130 Ctrl-C.
    """

    async def work(gateway: Gateway) -> int:
        run = await gateway.resume(str(run_id))
        if not detach:
            return await watch(gateway, run["id"], way_to_show(as_json=as_json))
        if as_json:
            print_json(run)
        else:
            click.echo(run["id"])
        return 0

    sys.exit(call(url, key, work))
