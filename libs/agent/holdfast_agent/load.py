"""Find agents: those of installed packages (entry point group ``holdfast.agents``) and those of named modules or files.

A module that cannot be imported is told of and left out, so that one broken file does not stop the others' runs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from holdfast_agent.agent import Agent

GROUP = "holdfast.agents"


@dataclass(slots=True)
class Loaded:
    """The agents that were found, by name, and the modules that failed, with why."""

    agents: dict[str, Agent] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def load(modules: Sequence[str] = ()) -> Loaded:
    """Load the agents of installed packages, then those of ``modules`` (dotted names or paths of ``.py`` files).

    A named module's agent replaces an installed one of the same name. Of two agents with one name in named modules the
    first counts, and the later module is told of as a failure.
    """
    loaded = Loaded()
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        for each in _import(loaded, point.module):
            loaded.agents[each.name] = each
    named: dict[str, Agent] = {}
    for module in modules:
        found = _import(loaded, module)
        for each in found:
            if named.setdefault(each.name, each) is not each:
                loaded.failures[module] = f"there is an agent {each.name!r} already"
        if not found and module not in loaded.failures:
            loaded.failures[module] = "it has no agent: decorate a coroutine with @agent(name)"
    loaded.agents.update(named)
    return loaded


def _import(loaded: Loaded, name: str) -> list[Agent]:
    try:
        module = _from_file(Path(name)) if name.endswith(".py") else _from_name(name)
    except (Exception, SystemExit) as error:  # whatever an author's module raises at import is told, not fatal
        loaded.failures[name] = f"{type(error).__name__}: {error}"
        return []
    return [value for value in vars(module).values() if isinstance(value, Agent)]


def _from_name(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that ``json.py`` is nobody else's ``json``.

    ``codec.py`` knows this form of name: it finds a type by the file's stem when the file lies elsewhere.
    """
    name = f"holdfast_agents.{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
