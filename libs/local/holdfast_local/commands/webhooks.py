"""``holdfast webhooks``: who is told of runs, what did not reach them, and how it is sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from holdfast_local.calling import call, gateway_options, json_option, note, print_json
from holdfast_local.listing import age, duration, table

if TYPE_CHECKING:
    from holdfast_local.api import Gateway

_HOOKS = "/v1/webhooks"
_DELIVERIES = "/v1/webhooks/deliveries"
_FAILING_MAX = 20
_LOOKED_AT_MAX = 200
_EVENTS = ("completed", "failed", "cancelled", "interrupted", "waiting", "queued", "running")
_HOOK_TITLES = ("ID", "EVENTS", "ADDED", "DESCRIPTION", "URL")
_DELIVERY_TITLES = ("ID", "RUN", "EVENT", "STATE", "MADE", "URL")


class _Webhooks(click.Group):
    """``holdfast webhooks`` is ``holdfast webhooks list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments, with the name of the command that was left out."""
        left_out = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if left_out else args)


@click.group("webhooks", cls=_Webhooks, short_help="Have servers told of runs, and see what did not arrive.")
def command() -> None:
    """List the webhooks, and the deliveries that fail. Or:

    \b
    holdfast webhooks add URL      tell that server of every run
    holdfast webhooks remove ID    tell it no more
    holdfast webhooks deliveries   what was sent, and what became of it
    holdfast webhooks replay ID    send a delivery again
    """


@command.command("list", short_help="List the webhooks, and the deliveries that fail.")
@json_option
@gateway_options
def list_webhooks(as_json: bool, url: str | None, key: str | None) -> None:
    """List the webhooks, and the newest deliveries that have failed so far or were given up."""
    hooks, failing = call(url, key, _hooks_and_failing)
    if as_json:
        print_json({"webhooks": hooks, "failing": failing})
        return
    rows = [
        (hook["id"], _events(hook["events"]), age(hook["created_at"]), hook["description"] or None, hook["url"])
        for hook in hooks
    ]
    for line in table(_HOOK_TITLES, rows) if rows else ["no webhooks: `holdfast webhooks add URL` adds one"]:
        click.echo(line)
    if failing:
        click.echo("\nfailing deliveries, newest first (`holdfast webhooks replay ID` sends one again):")
        _show(failing)


async def _hooks_and_failing(gateway: Gateway) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The webhooks, and the newest deliveries that were given up or have failed so far."""
    hooks = await gateway.items(_HOOKS, limit=_LOOKED_AT_MAX)
    given_up = await gateway.items(_DELIVERIES, {"status": "failed"}, limit=_FAILING_MAX)
    pending = await gateway.items(_DELIVERIES, {"status": "pending"}, limit=_LOOKED_AT_MAX)
    failing = [*given_up, *(each for each in pending if each["last_error"] is not None)]
    return hooks, sorted(failing, key=lambda each: str(each["id"]), reverse=True)[:_FAILING_MAX]


@command.command("add", short_help="Add a webhook and print its secret.")
@click.argument("target", metavar="URL")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(_EVENTS),
    help="Tell it of this alone; may be given several times. Default: all but queued and running.",
)
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@json_option
@gateway_options
def add(
    *, target: str, events: tuple[str, ...], description: str, as_json: bool, url: str | None, key: str | None
) -> None:
    """Have the server at URL told of every run. Standard output has the secret that signs the messages, and nothing else."""
    body: dict[str, Any] = {"url": target, "description": description}
    if events:
        body["events"] = [f"run.{event}" for event in events]
    maybe = "it may have been added: see `holdfast webhooks`"
    added = call(url, key, lambda gateway: gateway.send("POST", _HOOKS, json=body, after_reaching=maybe))
    if as_json:
        print_json(added)
        return
    click.echo(added["secret"])
    note(f"webhook {added['id']}: keep its secret, it is not shown again")


@command.command("remove", short_help="Remove a webhook.")
@click.argument("hook_id", metavar="ID", type=click.UUID)
@gateway_options
def remove(hook_id: UUID, url: str | None, key: str | None) -> None:
    """Remove the webhook of that ID. What was still to be sent to it is given up."""
    call(url, key, lambda gateway: gateway.send("DELETE", f"{_HOOKS}/{hook_id}"))
    click.echo("removed")


@command.command("deliveries", short_help="List what was sent, and what became of it.")
@click.option("--failed", is_flag=True, help="Those that were given up alone.")
@click.option("--run", "run_id", metavar="RUN", type=click.UUID, help="Those of this run.")
@click.option("--webhook", "hook_id", metavar="ID", type=click.UUID, help="Those to this webhook.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1), help="How many at the most.")
@json_option
@gateway_options
def deliveries(
    *,
    failed: bool,
    run_id: UUID | None,
    hook_id: UUID | None,
    limit: int,
    as_json: bool,
    url: str | None,
    key: str | None,
) -> None:
    """List the deliveries to come, and those of the last 30 days, newest first."""
    wanted = {"status": "failed" if failed else None, "run_id": run_id, "webhook_id": hook_id}
    filters = {name: str(value) for name, value in wanted.items() if value is not None}
    found = call(url, key, lambda gateway: gateway.items(_DELIVERIES, filters, limit=limit))
    if as_json:
        print_json(found)
    elif found:
        _show(found)
    else:
        click.echo("no such deliveries" if filters else "nothing was sent in the last 30 days")


@command.command("replay", short_help="Send a delivery again.")
@click.argument("delivery_id", metavar="ID", type=click.UUID)
@json_option
@gateway_options
def replay(delivery_id: UUID, as_json: bool, url: str | None, key: str | None) -> None:
    """Send the delivery of that ID again, now, under the same message id: also one that was taken, or given up."""
    delivery = call(url, key, lambda gateway: gateway.send("POST", f"{_DELIVERIES}/{delivery_id}/replay"))
    if as_json:
        print_json(delivery)
    else:
        click.echo(f"it is being sent again as {delivery['message_id']}")


def _events(events: Sequence[str]) -> str:
    return ", ".join(event.removeprefix("run.") for event in events)


def _show(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (each["id"], each["run_id"], each["event"], _state(each), age(each["created_at"]), each["url"])
        for each in found
    ]
    for line in table(_DELIVERY_TITLES, rows):
        click.echo(line)


def _state(delivery: Mapping[str, Any]) -> str:
    """What became of it: ``delivered``, ``given up after 7 tries: …``, ``failed, again in 5m 0s (1 try so far): …``."""
    tries, error = delivery["tries"], delivery["last_error"]
    times = "1 try" if tries == 1 else f"{tries} tries"
    if delivery["status"] == "delivered":
        return "delivered" if tries <= 1 else f"delivered after {times}"
    if delivery["status"] == "failed":
        return f"given up after {times}: {error}"
    if error is None:
        return "on its way"
    wait_s = (datetime.fromisoformat(delivery["next_at"]) - datetime.now(UTC)).total_seconds()
    soon = "now" if wait_s <= 0 else f"in {duration(wait_s)}"
    return f"failed, again {soon} ({times} so far): {error}"
