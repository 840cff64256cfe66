"""What the commands that call a gateway share: ``--url`` and ``--key``, one event loop, and what Ctrl-C does."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast_local.where import gateway_url

if TYPE_CHECKING:
    from holdfast_local.api import Gateway
    from holdfast_local.follow import Show

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])
EXIT_INTERRUPTED = 130

url_option = click.option(
    "--url",
    metavar="URL",
    envvar="HOLDFAST_URL",
    show_envvar=True,
    help="The gateway. Default: that of `holdfast up` in this folder, else http://127.0.0.1:8080.",
)
_KEY = click.option(
    "--key", metavar="KEY", envvar="HOLDFAST_KEY", show_envvar=True, help="An API key, where the gateway wants one."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
"""``--json`` of commands that print one document."""

run_argument = click.argument("run_id", metavar="RUN", type=click.UUID)
"""A run's id."""


def gateway_options(command: Command) -> Command:
    """``--url`` and ``--key``, handed on as ``url`` and ``key``."""
    return url_option(_KEY(command))


def call(url: str | None, key: str | None, work: Callable[[Gateway], Awaitable[T]]) -> T:
    """Run ``work`` with a gateway. Ctrl-C ends it with exit code 130.

    Raises:
        HoldfastError: what ``work`` raises; its words are for the user.
    """
    import asyncio  # noqa: PLC0415  # slow to import, both

    from holdfast_local.api import Gateway  # noqa: PLC0415

    async def with_gateway() -> T:
        async with Gateway(gateway_url(url), key) as gateway:
            return await work(gateway)

    try:
        return asyncio.run(with_gateway())
    except KeyboardInterrupt:
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


async def watch(gateway: Gateway, run_id: str, show: Show, *, after: str | None = None) -> int:
    """Follow a run on this terminal to its end. Returns the exit code. Ctrl-C detaches, and says so."""
    import asyncio  # noqa: PLC0415
    from contextlib import aclosing  # noqa: PLC0415

    from holdfast.runs import EventId  # noqa: PLC0415
    from holdfast_local.follow import Follower  # noqa: PLC0415

    follower = Follower(show, write=_write, note=note, verdict=_verdict, from_start=after is None, run_id=run_id)

    def on_link(away: str | None) -> None:
        follower.say(f"{away}; trying again" if away else "the gateway is back")

    try:
        start = EventId.parse(after) if after is not None else None
        async with aclosing(gateway.follow(run_id, after=start, on_link=on_link)) as events:
            async for event in events:
                follower.take(event)
        return follower.end(follower.outcome or await gateway.run(run_id))
    except asyncio.CancelledError:
        follower.say(f"detached; the run goes on: `holdfast tail {run_id}` or `holdfast cancel {run_id}`")
        raise


def way_to_show(*, as_json: bool) -> Show:
    """How standard output wants a run shown."""
    from holdfast_local.follow import Show  # noqa: PLC0415

    if as_json:
        return Show.JSON
    return Show.LIVE if sys.stdout.isatty() else Show.HELD


def note(words: str) -> None:
    """A dim line on standard error, and on a terminal that shows text while standard error goes elsewhere."""
    line = click.style(f"— {words} —", dim=True)
    click.echo(line, err=True, color=_color())
    if sys.stdout.isatty() and not sys.stderr.isatty():
        click.echo(line, color=_color())


def print_json(value: object) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _write(text: str) -> None:
    click.echo(text, nl=False)


def _verdict(words: str) -> None:
    click.secho(words, fg="red", err=True, color=_color())


def _color() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None
