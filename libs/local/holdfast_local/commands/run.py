"""``holdfast run``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from holdfast_local.calling import call, gateway_options, note, print_json, watch, way_to_show

if TYPE_CHECKING:
    from holdfast_local.api import Gateway


@click.command("run", short_help="Submit a run and follow it.")
@click.argument("text")
@click.option("--agent", default="assistant", show_default=True, metavar="NAME", help="Who is to do it.")
@click.option(
    "--thread",
    metavar="ID",
    help="The conversation to go on with; one of that id is made if there is none. Default: a new one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as they come, one JSON object per line.")
@click.option("--detach", is_flag=True, help="Submit only, and print the run's id (with --json: the run).")
@gateway_options
def command(
    *, text: str, agent: str, thread: str | None, as_json: bool, detach: bool, url: str | None, key: str | None
) -> None:
    """Submit TEXT as a run and follow it to its end. A TEXT of - is read from standard input.

    On a terminal the answer is shown as it streams. When text that was shown does not count any more (its runner was lost in the
    middle of a step), a line says so, and the whole answer always stands below the last such line. When standard output is no
    terminal, the answer is written once, when the run has ended; notes go to standard error.

    The run does not depend on this command: Ctrl-C only stops following it.

    \b
    Exit codes: 0 completed, 1 failed (or an error), 3 cancelled,
    4 interrupted, 130 Ctrl-C.
    """
    if text == "-":
        text = sys.stdin.read()

    async def work(gateway: Gateway) -> int:
        run_input = {"messages": [{"role": "user", "content": text}]}
        try:
            run = await gateway.submit(agent=agent, run_input=run_input, thread_id=thread, on_link=_say_link)
        except asyncio.CancelledError:
            note("the run may have been submitted: see `holdfast ps`")
            raise
        if detach:
            if as_json:
                print_json(run)
            else:
                click.echo(run["id"])
            return 0
        note(f"run {run['id']}")
        return await watch(gateway, run["id"], way_to_show(as_json=as_json))

    sys.exit(call(url, key, work))


def _say_link(away: str | None) -> None:
    note(f"{away}; trying again" if away else "the gateway is back")
