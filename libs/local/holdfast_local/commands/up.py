"""``holdfast up``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

_COUNT = click.IntRange(0, 64)


@click.command("up", short_help="Start everything on this machine.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Of the first gateway; 0: a free one.",
)
@click.option("--gateways", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--runners", default=2, show_default=True, type=_COUNT)
@click.option("--reapers", default=1, show_default=True, type=_COUNT)
@click.option(
    "--data",
    default=Path(".holdfast"),
    show_default=True,
    type=click.Path(readable=False, path_type=Path),  # what is wrong with it `up` says, on one line
    help="Where everything is kept.",
)
@click.option(
    "--agents",
    multiple=True,
    metavar="MODULE",
    help="A module or a .py file with agents, besides the installed ones; may be repeated.",
)
@click.option("--reload", is_flag=True, help="Replace the runners when files of the agents change; runs go on.")
@click.option("--restart/--no-restart", default=True, show_default=True, help="Start a process again when it dies.")
@click.option(
    "--auth",
    default="none",
    show_default=True,
    envvar="HOLDFAST_AUTH",
    show_envvar=True,
    type=click.Choice(["none", "keys"]),
    help="Whether callers need a key.",
)
@click.option("--postgres", "postgres_url", metavar="URL", help="Use this Postgres instead of one of our own.")
@click.option("--nats", "nats_url", metavar="URL", help="Use this NATS instead of one of our own.")
def command(**choices: Any) -> None:
    """Start Postgres, NATS, a mock model, gateways, runners and reapers on this machine, and keep them running.

    Ctrl-C stops everything in order; a second one kills. Everything listens on loopback only.
    """
    import asyncio  # noqa: PLC0415

    from holdfast_local.plan import UpOptions  # noqa: PLC0415
    from holdfast_local.up import up  # noqa: PLC0415

    sys.exit(asyncio.run(up(UpOptions(**choices), _say)))


def _say(line: str) -> None:
    """One line at once; a terminal that has gone away is no reason to leave processes behind."""
    try:
        click.echo(line)
    except OSError:
        return
