"""The folder in which ``holdfast up`` keeps everything: locked while in use, closed to other users.

``lock`` (its holder's pid), ``postgres/``, ``nats/``, ``logs/<process>.log`` and, while all is up, ``up.json``: the addresses,
for the commands that look for them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from holdfast.errors import Terminal

_LOG_BYTES_MAX = 16 * 1024 * 1024


class DataDirTaken(Terminal):
    """Another ``holdfast up`` runs on this folder."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"holdfast up already runs on {path} (pid {holder}): stop it, or choose another folder with --data"
        )


class DataDirNotUsable(Terminal):
    """The folder, or something in it, cannot be made or written."""

    def __init__(self, path: Path, error: OSError) -> None:
        what = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        super().__init__(f"cannot keep data in {path}: {what}{where}; choose another folder with --data")


@dataclass(frozen=True)
class DataDir:
    """Paths in the folder."""

    path: Path

    @property
    def postgres(self) -> Path:
        """Postgres's own folder."""
        return self.path / "postgres"

    @property
    def nats(self) -> Path:
        """NATS's own folder."""
        return self.path / "nats"

    @property
    def addresses(self) -> Path:
        """Where ``up`` says what runs where (JSON); it holds Postgres's password."""
        return self.path / "up.json"

    def log(self, process: str) -> Path:
        """The log of a process. One that has grown large is set aside first, in place of the one set aside before.

        Raises:
            DataDirNotUsable: it cannot be written.
        """
        path = self.path / "logs" / f"{process}.log"
        with self._usable():
            path.parent.mkdir(exist_ok=True, mode=0o700)
            path.touch()
            if path.stat().st_size > _LOG_BYTES_MAX:
                path.replace(path.with_suffix(".log.1"))
        return path

    def write_addresses(self, addresses: Mapping[str, object]) -> None:
        """Replace ``up.json``, readable by its owner alone."""
        new = self.addresses.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps(addresses, indent=2) + "\n")
        new.replace(self.addresses)

    def running_addresses(self) -> Mapping[str, object] | None:
        """What ``up.json`` says while the ``holdfast up`` that holds the folder lives, for its user's other commands."""
        try:
            os.kill(int(self._lock_path.read_text()), 0)  # a killed one has left both files behind
            addresses = json.loads(self.addresses.read_text())
        except (OSError, ValueError):
            return None
        return addresses if isinstance(addresses, dict) else None

    def refuse_if_taken(self) -> None:
        """Raise ``DataDirTaken`` when somebody holds the lock now; nothing is made or changed.

        Raises:
            DataDirNotUsable: the folder cannot be looked into.
        """
        with self._usable(), contextlib.suppress(FileNotFoundError), self._lock_path.open("rb") as lock:
            self._take(lock.fileno())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be and hold its lock. The kernel lets go of it with the process, however that ends.

        Raises:
            DataDirTaken: somebody else holds it.
            DataDirNotUsable: it cannot be made or written.
        """
        with self._usable():
            lock = self._made()
        with lock:  # not inherited by children: the lock ends with us, not with them
            with self._usable():
                self._take(lock.fileno())
                self.addresses.unlink(missing_ok=True)  # of one that was killed
                lock.truncate(0)
                lock.write(str(os.getpid()).encode())
                lock.flush()
            try:
                yield
            finally:
                self.addresses.unlink(missing_ok=True)
                lock.truncate(0)

    def _made(self) -> BinaryIO:
        """The folder's lock file, open, once the folder is there."""
        # Root may have to run Postgres as another user, who has to get through here. Everything inside is closed.
        self.path.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        (self.path / ".gitignore").write_text("*\n")
        return self._lock_path.open("a+b")

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataDirNotUsable(self.path, error) from error

    @property
    def _lock_path(self) -> Path:
        return self.path / "lock"

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirTaken(self.path, self._lock_path.read_text().strip() or "unknown") from None
