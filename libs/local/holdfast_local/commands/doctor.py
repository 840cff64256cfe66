"""``holdfast doctor``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from holdfast_local.calling import json_option, print_json, url_option
from holdfast_local.direct import data_option, nats_option, postgres_option
from holdfast_local.listing import printable
from holdfast_local.where import gateway_url, nats_urls, postgres_url


@click.command("doctor", short_help="Check that all is well, and say what to do.")
@postgres_option
@nats_option
@url_option
@data_option
@json_option
def command(postgres: str | None, nats: str | None, url: str | None, data: Path, as_json: bool) -> None:
    """Check Postgres, its schema, NATS, its streams and bucket, the runners and reapers, the clocks and a gateway.

    One line per check, and under a problem what to do about it. Exit code 1 when there is a problem.
    """
    import asyncio  # noqa: PLC0415  # slow to import, all three

    from holdfast import logs  # noqa: PLC0415
    from holdfast_local.doctor import examine  # noqa: PLC0415

    logs.configure("error", "console")
    findings = asyncio.run(
        examine(
            postgres_url=postgres_url(postgres, data),
            nats_urls=nats_urls(nats, data),
            gateway_url=gateway_url(url, data),
        )
    )
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            mark = click.style("ok", fg="green") if finding.ok else click.style("PROBLEM", fg="red")
            padding = " " * (len("PROBLEM") - (2 if finding.ok else 7))
            click.echo(f"{mark}{padding}  {finding.check.ljust(width)}  {printable(finding.found)}")
            if finding.advice and not finding.ok:
                click.echo(" " * (len("PROBLEM") + 2 + width + 2) + finding.advice)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
