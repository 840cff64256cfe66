"""``holdfast mock-model``."""

from __future__ import annotations

import os

import click


@click.command("mock-model", short_help="Run the mock model.")
@click.option("--host", default="127.0.0.1", show_default=True, envvar="HOLDFAST_MOCK_HOST", show_envvar=True)
@click.option(
    "--port",
    default=8090,
    show_default=True,
    envvar="HOLDFAST_MOCK_PORT",
    show_envvar=True,
    type=click.IntRange(1, 65535),
)
def command(host: str, port: int) -> None:
    """Run a model that costs nothing: an HTTP server speaking OpenAI's chat-completions protocol.

    What it does is said by hints in the last user message, such as "many:10 stamp"; see holdfast_local.mock_model.
    """
    from holdfast_local.mock_model.__main__ import main  # noqa: PLC0415

    os.environ["HOLDFAST_MOCK_HOST"], os.environ["HOLDFAST_MOCK_PORT"] = host, str(port)
    main()
