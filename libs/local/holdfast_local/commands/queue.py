"""``holdfast queue``: what waits behind a thread's active run, and how to change it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, json_option, print_json, run_argument
from holdfast_local.listing import age, table

_ROWS_MAX = 10_000
_CLIP_LENGTH = 80
_TITLES = ("PLACE", "RUN", "AGENT", "CREATED", "INPUT")
_thread_argument = click.argument("thread", metavar="THREAD")


class _Queue(click.Group):
    """``holdfast queue THREAD`` is ``holdfast queue list THREAD``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with the name of the command that was left out."""
        named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if named else ["list", *args])


@click.group("queue", cls=_Queue, short_help="List and edit the queue of a thread.")
def command() -> None:
    """List the queued runs of THREAD in order, or change one that has not begun.

    \b
    holdfast queue THREAD               what is queued
    holdfast queue edit THREAD RUN TEXT say something else
    holdfast queue remove THREAD RUN    do not run it
    holdfast queue now THREAD RUN       run it before the others

    Each is refused for a run that a runner has claimed meanwhile. Of a thread that is named as one of these commands the list is
    `holdfast queue list THREAD`.
    """


@command.command("list", short_help="List what is queued.")
@_thread_argument
@json_option
@gateway_options
def list_queue(thread: str, as_json: bool, url: str | None, key: str | None) -> None:
    """List the queued runs of THREAD, the next one first."""
    runs = call(url, key, lambda gateway: gateway.queue(thread, limit=_ROWS_MAX))
    if as_json:
        print_json(runs)
        return
    rows = [
        (place, run["id"], run["agent"], age(run["created_at"]), _asked(run.get("input")))
        for place, run in enumerate(runs, 1)
    ]
    for line in table(_TITLES, rows) if rows else [f"nothing is queued on thread {thread}"]:
        click.echo(line)


@command.command("edit", short_help="Change what a queued run is asked.")
@_thread_argument
@run_argument
@click.argument("text", required=False)
@click.option("--input", "raw_input", metavar="JSON", help="The whole input instead, for agents that take no messages.")
@json_option
@gateway_options
def edit(
    *,
    thread: str,
    run_id: UUID,
    text: str | None,
    raw_input: str | None,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """Have RUN, which is queued on THREAD, asked TEXT in place of what it was asked. A TEXT of - is read from standard input."""
    if (text is None) == (raw_input is None):
        raise click.UsageError("give a TEXT, or --input JSON")
    if raw_input is not None:
        try:
            run_input = json.loads(raw_input)
        except ValueError as error:
            raise click.BadParameter(f"it is not JSON: {error}", param_hint="--input") from error
    else:
        content = sys.stdin.read() if text == "-" else text
        run_input = {"messages": [{"role": "user", "content": content}]}
    run = call(url, key, lambda gateway: gateway.edit_queued(thread, str(run_id), run_input))
    _tell(run, "changed", as_json=as_json)


@command.command("remove", short_help="Take a run out of the queue.")
@_thread_argument
@run_argument
@json_option
@gateway_options
def remove(thread: str, run_id: UUID, as_json: bool, url: str | None, key: str | None) -> None:
    """Take RUN out of the queue of THREAD: it is cancelled before it has begun."""
    _tell(call(url, key, lambda gateway: gateway.remove_queued(thread, str(run_id))), "removed", as_json=as_json)


@command.command("now", short_help="Put a queued run first.")
@_thread_argument
@run_argument
@json_option
@gateway_options
def now(thread: str, run_id: UUID, as_json: bool, url: str | None, key: str | None) -> None:
    """Put RUN before the others that are queued on THREAD. A run that is at work is not stopped for it."""
    _tell(call(url, key, lambda gateway: gateway.put_first(thread, str(run_id))), "it is the next", as_json=as_json)


def _tell(run: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        click.echo(words)


def _asked(run_input: object) -> str:
    """The last message of an input, or the input itself, clipped."""
    match run_input:
        case {"messages": [*_, {"content": str() as text}]}:
            pass
        case _:
            text = json.dumps(run_input, ensure_ascii=False)
    return text if len(text) <= _CLIP_LENGTH else f"{text[:_CLIP_LENGTH]}…"
