"""``holdfast tail``."""

from __future__ import annotations

import sys
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, run_argument, watch, way_to_show


def _event_id(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from holdfast.runs import EventId  # noqa: PLC0415

    try:
        return None if value is None else str(EventId.parse(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("tail", short_help="Follow a run from its start, or from an event.")
@run_argument
@click.option("--after", metavar="ID", callback=_event_id, help="Leave out events up to this one (such as 1-17).")
@click.option("--json", "as_json", is_flag=True, help="Print events as they come, one JSON object per line.")
@gateway_options
def command(run_id: UUID, after: str | None, as_json: bool, url: str | None, key: str | None) -> None:
    """Follow RUN to its end, from its first event on, as `holdfast run` does; of an ended run, show what it said.

    When the run asks something, the question is shown with the command that answers it, and this one goes on following.

    With --json each line is {"id", "type", "data"}. Ctrl-C stops following; the run goes on.

    \b
    Exit codes: 0 completed, 1 failed (or an error), 3 cancelled,
    4 interrupted, 130 Ctrl-C.
    """
    show = way_to_show(as_json=as_json)
    sys.exit(call(url, key, lambda gateway: watch(gateway, str(run_id), show, after=after)))
