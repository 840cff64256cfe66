"""``holdfast run``."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

import click

from holdfast_local.calling import call, gateway_options, note, print_json, watch, way_to_show

if TYPE_CHECKING:
    from holdfast_local.api import Gateway

_UNIT_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DAY_S = 86400.0


class _Span(click.ParamType[float]):
    """A time such as ``90``, ``90s``, ``15m``, ``2h`` or ``1.5d``, in seconds, within limits; the limits are the gateway's."""

    name = "time"

    def __init__(self, *, least_s: float, most_s: float) -> None:
        self._least_s, self._most_s = least_s, most_s

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if found is None:
            self.fail(f"{value!r} is not a time such as 90, 15m, 2h or 1d", param, ctx)
        seconds = float(found[1]) * _UNIT_S[found[2]]
        if not self._least_s <= seconds <= self._most_s:
            self.fail(f"{value!r} is not between {self._least_s:g} s and {self._most_s / _DAY_S:g} d", param, ctx)
        return seconds


@click.command("run", short_help="Submit a run and follow it.")
@click.argument("text", required=False)
@click.option(
    "--input",
    "input_json",
    metavar="JSON",
    help="The agent's input as it is, in place of TEXT, for agents that take no chat. - is standard input.",
)
@click.option("--agent", default="assistant", show_default=True, metavar="NAME", help="Who is to do it.")
@click.option(
    "--thread",
    metavar="ID",
    help="The conversation to go on with; one of that id is made if there is none. Default: a new one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print events as they come, one JSON object per line.")
@click.option("--detach", is_flag=True, help="Submit only, and print the run's id (with --json: the run).")
@click.option(
    "--deadline",
    "deadline_s",
    metavar="TIME",
    type=_Span(least_s=0.001, most_s=365 * _DAY_S),
    help="Fail the run if it has not ended by then (such as 90, 15m, 2h), counted from now, waiting included.",
)
@click.option(
    "--idle-timeout",
    "idle_timeout_s",
    metavar="TIME",
    type=_Span(least_s=1, most_s=7 * _DAY_S),
    help="Fail the run if it runs for so long without progress. Waiting for a person does not count. Default: 10m.",
)
@click.option(
    "--max-crashes",
    metavar="N",
    type=click.IntRange(1, 100),
    help="Fail the run if it loses its runner so often without finishing a step. Default: 5.",
)
@click.option(
    "--on-owner-lost",
    type=click.Choice(["resume", "interrupt", "fail"]),
    help="If its runner is lost: go on in another (default), stop and wait for `holdfast resume`, or fail.",
)
@click.option(
    "--on-unknown",
    type=click.Choice(["retry", "fail", "ask"]),
    help="If nobody knows whether a step was done: do it again, fail, or ask. Default: as its agent says.",
)
@gateway_options
def command(
    *,
    text: str | None,
    input_json: str | None,
    agent: str,
    thread: str | None,
    as_json: bool,
    detach: bool,
    url: str | None,
    key: str | None,
    **policies: Any,
) -> None:
    """Submit TEXT as a run and follow it to its end. A TEXT of - is read from standard input.

    On a terminal the answer is shown as it streams. When text that was shown does not count any more (its runner was lost in the
    middle of a step), a line says so, and the whole answer always stands below the last such line. When standard output is no
    terminal, the answer is written once, when the run has ended; notes go to standard error.

    When the run asks something, the question is shown with the command that answers it (see `holdfast answer`), and this one
    goes on following. The run does not depend on this command: Ctrl-C only stops following it.

    \b
    Exit codes: 0 completed, 1 failed (or an error), 3 cancelled,
    4 interrupted, 130 Ctrl-C.
    """
    import asyncio  # noqa: PLC0415  # slow to import

    run_input = _input(text, input_json)
    chosen = {name: value for name, value in policies.items() if value is not None}
    if "idle_timeout_s" in chosen:
        chosen["idle_timeout_s"] = round(chosen["idle_timeout_s"])  # the record keeps whole seconds

    async def work(gateway: Gateway) -> int:
        try:
            run = await gateway.submit(
                agent=agent, run_input=run_input, thread_id=thread, policies=chosen, on_link=_say_link
            )
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


def _input(text: str | None, input_json: str | None) -> Any:
    """The run's input.

    Raises:
        click.UsageError: not just one of the two was given, or the input is no JSON.
    """
    if (text is None) == (input_json is None):
        raise click.UsageError("give either a TEXT for the agent, or its whole input as --input '{\"…\": …}'")
    if input_json is None:
        return {"messages": [{"role": "user", "content": sys.stdin.read() if text == "-" else text}]}
    try:
        return json.loads(sys.stdin.read() if input_json == "-" else input_json)
    except ValueError as error:
        raise click.UsageError(f"--input is not JSON: {error}") from error


def _say_link(away: str | None) -> None:
    note(f"{away}; trying again" if away else "the gateway is back")
