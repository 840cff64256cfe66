"""``holdfast gateway``: the service alone, with its settings from the environment."""

from __future__ import annotations

import click


@click.command("gateway", short_help="Run one gateway.")
def command() -> None:
    """Run one gateway in the foreground, as containers do. Its settings are HOLDFAST_* variables; SIGTERM drains it."""
    from holdfast_gateway.__main__ import main  # noqa: PLC0415

    main()
