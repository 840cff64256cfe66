"""``holdfast pods``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from holdfast_local.calling import call, gateway_options, json_option, print_json
from holdfast_local.listing import age, table

_TITLES = ("POD", "POOL", "STATE", "SLOTS", "VERSION", "HOST", "PID", "STARTED", "BOOT")
_PODS_MAX = 1000


@click.command("pods", short_help="List the runners that are alive.")
@json_option
@gateway_options
def command(as_json: bool, url: str | None, key: str | None) -> None:
    """List the runners that are alive. SLOTS is how many runs each works on, of how many it takes.

    Hosts and pids are shown to an operator's key only.
    """
    pods = call(url, key, lambda gateway: gateway.items("/v1/pods", limit=_PODS_MAX))
    if as_json:
        print_json(pods)
        return
    rows = [_row(pod) for pod in sorted(pods, key=lambda pod: str(pod["pod"]))]
    for line in table(_TITLES, rows) if rows else ["no runner is alive: `holdfast up` or `holdfast runner` starts one"]:
        click.echo(line)


def _row(pod: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        pod["pod"],
        pod["pool"],
        "draining" if pod["draining"] else "ready",
        f"{pod['running']}/{pod['slots']}",
        pod["version"],
        pod.get("host"),
        pod.get("pid"),
        age(pod.get("started_at")),
        pod["boot"],
    )
