"""``holdfast runner``: the service alone, with its settings from the environment."""

from __future__ import annotations

import click


@click.command("runner", short_help="Run one runner.")
def command() -> None:
    """Run one runner in the foreground, as containers do. Its settings are HOLDFAST_* variables; SIGTERM drains it."""
    from holdfast_runner.__main__ import main  # noqa: PLC0415

    main()
