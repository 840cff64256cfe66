"""Files inside one folder, by relative paths that cannot leave it.

Each part of a path is opened from the folder before it and must not be a symbolic link, so that neither ``..`` nor a link leads
out, not even one that somebody puts there meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from uuid import uuid4

READ_BYTES_MAX = 256 * 1024
WRITE_BYTES_MAX = 1024 * 1024
LIST_MAX = 1000
_OFFSET_MAX = 2**53 - 1  # what JSON's readers all keep exact; the system takes no more than 2**63
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class WorkspaceError(Exception):
    """It cannot be done; the message says why, and tells nothing of what is outside."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The files of one folder, which has to exist."""

    root: Path

    def read(self, path: str, offset: int = 0) -> dict[str, object]:
        """``{"text", "size", "next_offset"}``: at most 256 KiB from a byte; ``next_offset`` is None at the end.

        Raises:
            WorkspaceError: there is no such file, it is not within, or no file is as long as the offset.
        """
        if offset > _OFFSET_MAX:
            raise WorkspaceError(f"an offset is {_OFFSET_MAX} at the most")
        with self._within(path) as (folder, name), _told(path):
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            try:
                status = os.fstat(descriptor)
                file = os.fdopen(descriptor, "rb") if stat.S_ISREG(status.st_mode) else None
            except BaseException:
                os.close(descriptor)
                raise
            if file is None:
                os.close(descriptor)
                raise WorkspaceError(f"{path!r} is not a file")
            with file:
                file.seek(max(0, offset))
                content = file.read(READ_BYTES_MAX)
                end = file.tell()
        text = content.decode(errors="replace").replace("\x00", "\ufffd")
        return {"text": text, "size": status.st_size, "next_offset": end if end < status.st_size else None}

    def write(self, path: str, content: str) -> dict[str, object]:
        """Put a file there, whole or not at all, with the folders above it. Returns ``{"path", "size"}``.

        Raises:
            WorkspaceError: the path is not within, or the content is too large.
        """
        data = content.encode()
        if len(data) > WRITE_BYTES_MAX:
            raise WorkspaceError(f"the content has {len(data)} bytes; {WRITE_BYTES_MAX} are allowed")
        with self._within(path, make=True) as (folder, name), _told(path):
            if _is_folder(name, folder):
                raise WorkspaceError(f"{path!r} is a folder")
            aside = f".{name[:100]}.{uuid4().hex[:8]}"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(aside, flags, 0o644, dir_fd=folder), "wb") as file:
                    file.write(data)
                os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _forget(aside, folder)
                raise
        return {"path": path, "size": len(data)}

    def list(self, path: str = ".") -> dict[str, object]:
        """``{"entries": [{"name", "kind", "size"}], "more"}``: at most 1000, by name; kind is file, folder or other.

        Raises:
            WorkspaceError: there is no such folder, or it is not within.
        """
        parts = _parts(path)
        with self._folder(parts, path) as folder, _told(path):
            names = sorted(os.listdir(folder))  # noqa: PTH208 - of the open folder, not of a path
            entries = [_entry(name, folder) for name in names[:LIST_MAX]]
        return {"entries": [entry for entry in entries if entry is not None], "more": len(names) > LIST_MAX}

    @contextmanager
    def _within(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        parts = _parts(path)
        if not parts:
            raise WorkspaceError(f"{path!r} is a folder")
        with self._folder(parts[:-1], path, make=make) as folder:
            yield folder, parts[-1]

    @contextmanager
    def _folder(self, parts: tuple[str, ...], path: str, *, make: bool = False) -> Iterator[int]:
        with _told(path):
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts:
                with _told(path):
                    if make:
                        _make(part, descriptor)
                    inner = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if "\x00" in path or path.startswith("/") or ".." in parts:
        raise WorkspaceError(f"{path!r} is not within the workspace: use a relative path without '..'")
    return parts


@contextmanager
def _told(path: str) -> Iterator[None]:
    """An error of the system, in words that give away nothing of what is outside."""
    try:
        yield
    except FileNotFoundError as error:
        raise WorkspaceError(f"there is no {path!r}") from error
    except OSError as error:
        raise WorkspaceError(f"{path!r} cannot be used: {os.strerror(error.errno or 0)}") from error


def _make(name: str, folder: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return


def _forget(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return


def _is_folder(name: str, folder: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _entry(name: str, folder: int) -> dict[str, object] | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None  # it went away meanwhile
    kind = "file" if stat.S_ISREG(status.st_mode) else "folder" if stat.S_ISDIR(status.st_mode) else "other"
    return {"name": name.encode(errors="replace").decode(), "kind": kind, "size": status.st_size}
