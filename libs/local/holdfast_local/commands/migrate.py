"""``holdfast migrate``."""

from __future__ import annotations

from pathlib import Path

import click

from holdfast_local.direct import data_option, postgres_option
from holdfast_local.where import postgres_url


@click.command("migrate", short_help="Bring the record's schema up to date.")
@postgres_option
@data_option
def command(postgres: str | None, data: Path) -> None:
    """Bring the record's schema to what this release needs. Safe to repeat, and to run from many places at once."""
    from holdfast.store.migrate import migrate  # noqa: PLC0415

    before, after = migrate(postgres_url(postgres, data))
    if before == after:
        click.echo(f"the record's schema is at {after}; there was nothing to do")
    else:
        click.echo(
            f"the record's schema is at {after}" + (f"; it was at {before}" if before else ", made from nothing")
        )
