"""``holdfast cancel``."""

from __future__ import annotations

from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, json_option, print_json, run_argument


@click.command("cancel", short_help="Cancel a run.")
@run_argument
@json_option
@gateway_options
def command(run_id: UUID, as_json: bool, url: str | None, key: str | None) -> None:
    """Cancel RUN. A run that a runner works on is ended by that runner, a moment later."""
    run = call(url, key, lambda gateway: gateway.cancel(str(run_id)))
    if as_json:
        print_json(run)
    elif run["status"] == "cancelled":
        click.echo("cancelled")
    else:
        click.echo(f"{run.get('run_owner_pod') or 'its runner'} is told to end it")
