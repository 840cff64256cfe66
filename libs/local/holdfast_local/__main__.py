"""The ``holdfast`` command. Each command is a module in ``commands``, imported when it is needed.

A command module holds one ``click.Command`` named ``command`` and imports nothing heavy at its top, since
``holdfast --help`` reads them all. What it needs to do its work it imports in the function.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import click

from holdfast import __version__
from holdfast.errors import HoldfastError
from holdfast_local import commands

SECTIONS = {
    "Runs": ("run", "tail", "ps", "show", "cancel"),
    "Runs that wait, stopped or queue": ("answer", "resume", "fork", "queue"),
    "The system": ("up", "pods", "doctor", "keys", "webhooks", "migrate"),
    "One process, as in a container": ("gateway", "runner", "reaper", "mock-model"),
}
"""How ``holdfast --help`` groups the commands; one that is named nowhere comes under "Other"."""


class Commands(click.Group):
    """Finds commands by their modules' names; ``mock_model`` is ``holdfast mock-model``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command's name, sorted."""
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None when there is no such."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name; an unknown one is met with those that look like it."""
        if args and not args[0].startswith("-") and args[0] not in (known := self.list_commands(ctx)):
            raise click.NoSuchCommand(args[0], possibilities=known, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, aligned alike in all of them."""
        names = self.list_commands(ctx)
        named = {name for section in SECTIONS.values() for name in section}
        other = tuple(name for name in names if name not in named)
        width = max(map(len, names))
        for title, section in {**SECTIONS, "Other": other}.items():
            found = [(name, self.get_command(ctx, name)) for name in section]
            lines = [
                (name.ljust(width), command.get_short_help_str(90)) for name, command in found if command is not None
            ]
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that Holdfast raises on purpose is one message and exit code 1."""
        try:
            return super().invoke(ctx)
        except HoldfastError as failed:
            raise click.ClickException(str(failed)) from failed


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="holdfast")
def main() -> None:
    """Agent runs that outlive the machine they run on."""


if __name__ == "__main__":
    main(prog_name="holdfast")
