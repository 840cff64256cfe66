"""``--reload``: when files of the agents change, runners are replaced one after another; their runs go on elsewhere."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from holdfast_local.agent_modules import find_module, module_search_path
from holdfast_local.process import ProcessStartFailed
from holdfast_local.supervised import Supervised

AGENTS_GROUP = "holdfast.agents"
READY_TIMEOUT_S = 20.0
_DEBOUNCE_MS = 300
_STEP_MS = 50
_LOOK_ANYWAY_MS = 1_000


class AgentFiles:
    """The source files of the agents, and how they were when last looked at. Make it before the runners start."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Without modules: those of the installed agents."""
        self.folders, self.packages = where_modules_are(modules or installed_agents(), module_search_path())
        self._seen = self._fingerprint()

    def changed(self) -> bool:
        """Whether a file was changed, added or removed since the last look."""
        before, self._seen = self._seen, self._fingerprint()
        return self._seen != before

    def _fingerprint(self) -> dict[str, tuple[int, int, int]]:
        return {str(path): (stat.st_mtime_ns, stat.st_size, stat.st_ino) for path, stat in _stats(self._sources())}

    def _sources(self) -> Iterator[Path]:
        for folder in self.folders:
            yield from folder.glob("*.py")
        for package in self.packages:
            yield from package.rglob("*.py")


def _stats(paths: Iterator[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        try:
            yield path, path.stat()
        except FileNotFoundError:  # between two steps of a save
            continue


async def reload_on_change(files: AgentFiles, runners: Sequence[Supervised], *, say: Callable[[str], None]) -> None:
    """Watch the files and replace the runners, until cancelled.

    What is saved while a round of replacements is under way makes one more round, however often it was.
    """
    for path in [*files.folders, *files.packages]:
        say(f"watching     {path}")
    look = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        if files.folders:
            tasks.create_task(_watch(files.folders, look, recursive=False), name="watch folders")
        if files.packages:
            tasks.create_task(_watch(files.packages, look, recursive=True), name="watch packages")
        while True:
            await look.wait()
            look.clear()
            if files.changed():
                await _replace(runners, say)


async def _watch(paths: Sequence[Path], look: asyncio.Event, *, recursive: bool) -> None:
    """Set ``look`` when something happens, and once a second anyway: what was saved before the watch was set up tells
    nobody, and some file systems never do."""
    from watchfiles import awatch  # noqa: PLC0415  # only who asks for it pays for the import

    async for _ in awatch(
        *paths,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_LOOK_ANYWAY_MS,
        yield_on_timeout=True,
        recursive=recursive,
    ):
        look.set()


async def _replace(runners: Sequence[Supervised], say: Callable[[str], None]) -> None:
    """One after another, so that somebody is always there; not at all beyond one that does not come back."""
    say("agent files changed: replacing the runners")
    for position, runner in enumerate(runners):
        try:
            await runner.restart(ready_timeout_s=READY_TIMEOUT_S)
        except ProcessStartFailed as failed:
            say(str(failed))
            if kept := [other.process.name for other in runners[position + 1 :]]:
                say(f"{', '.join(kept)}: kept as before, until the files change again")
            return
    say("the runners have the changed files")


def installed_agents() -> list[str]:
    """The modules that the entry points of the group ``holdfast.agents`` name."""
    return sorted({point.module for point in importlib.metadata.entry_points(group=AGENTS_GROUP)})


def where_modules_are(modules: Sequence[str], search_path: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Where the modules' files are: folders of single files (not what is below), and packages' folders (with it).

    A folder is watched, never a file, since editors replace files. Nothing is imported.
    """
    folders: set[Path] = set()
    packages: set[Path] = set()
    for module in modules:
        if module.endswith(".py"):  # a file, as the runners take it too
            folders.add(Path(module).resolve().parent)
            continue
        spec = find_module(module.partition(":")[0], search_path)
        if spec is None:
            continue
        if spec.submodule_search_locations:
            packages.update(Path(location).resolve() for location in spec.submodule_search_locations)
        elif spec.origin:
            folders.add(Path(spec.origin).resolve().parent)
    return sorted(folders), sorted(packages)
