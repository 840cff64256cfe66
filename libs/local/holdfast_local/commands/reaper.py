"""``holdfast reaper``: the service alone, with its settings from the environment."""

from __future__ import annotations

import click


@click.command("reaper", short_help="Run one reaper.")
def command() -> None:
    """Run one reaper in the foreground, as containers do. Its settings are HOLDFAST_* variables; SIGTERM drains it."""
    from holdfast_reaper.__main__ import main  # noqa: PLC0415

    main()
