"""Which modules and files of agents ``holdfast up`` was told of, and whether they are there. Imports none of them."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import Terminal


class AgentsNotFound(Terminal):
    """A module or file of agents that was named is not there."""


def named_agents(option: Sequence[str]) -> list[str]:
    """The modules and files that the runners will be told to load: those of ``--agents``, else of HOLDFAST_AGENTS.

    Each may be several with commas between, as the runners take them.
    """
    said = option or [os.environ.get("HOLDFAST_AGENTS", "")]
    return [name.strip() for names in said for name in names.split(",") if name.strip()]


def refuse_if_absent(names: Sequence[str]) -> None:
    """Look for each, from this folder on.

    Raises:
        AgentsNotFound: one is not there.
    """
    search_path = module_search_path()
    for name in names:
        if name.endswith(".py"):
            if not Path(name).is_file():
                raise AgentsNotFound(f"there is no file of agents {name} (--agents, seen from {Path.cwd()})")
        elif find_module(name, search_path) is None:
            raise AgentsNotFound(
                f"there is no module of agents {name} (--agents): looked in {Path.cwd()} and the installed packages"
            )


def module_search_path() -> list[str]:
    """Where a runner that is started here looks for modules."""
    return [str(Path.cwd()), *sys.path]


def find_module(module: str, search_path: Sequence[str]) -> importlib.machinery.ModuleSpec | None:
    """A module's spec, None when there is no such. ``importlib.util.find_spec`` would import the packages above it."""
    first, *below = module.split(".")
    if not all([first, *below]):
        return None
    spec = importlib.machinery.PathFinder.find_spec(first, search_path)
    if spec is None:  # one that an editable install finds in a way of its own
        with contextlib.suppress(ValueError):
            spec = importlib.util.find_spec(first)
    for part in below:
        if spec is None:
            return None
        # By its last name alone: finders look for no more, and a whole one makes them ask for the package as imported.
        spec = importlib.machinery.PathFinder.find_spec(part, list(spec.submodule_search_locations or []))
    return spec
