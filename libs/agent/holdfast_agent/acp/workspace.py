"""The files that a child may read and write by way of its client: those inside its folder, and no others."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import IO

from acp import RequestError

_FILE_BYTES_MAX = 16 * 1024 * 1024


class Workspace:
    """A folder. Paths are absolute, as the protocol has them; links that lead out of it are refused like any other way out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    async def read(self, path: str, *, line: int | None = None, limit: int | None = None) -> str:
        """The text of a file; from line ``line`` (1 is the first), ``limit`` lines at the most.

        Raises:
            RequestError: outside the folder, not there, no text, too large.
        """
        text = await asyncio.to_thread(_read, self._inside(path))
        if line is None and limit is None:
            return text
        start = max((line or 1) - 1, 0)
        # Not splitlines(), which splits at a form feed and at U+2028 too: editors and models do not count those.
        *ended, rest = text.split("\n")
        lines = [*(f"{each}\n" for each in ended), rest]
        return "".join(lines[start : None if limit is None else start + max(limit, 0)])

    async def write(self, path: str, text: str) -> None:
        """Write a file whole; its folder is made when missing.

        Raises:
            RequestError: outside the folder, no file, too large.
        """
        await asyncio.to_thread(_write, self._inside(path), text)

    def _inside(self, path: str) -> Path:
        try:
            wanted = Path(path)
            real = wanted.resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise RequestError.invalid_params({"path": path, "details": str(error)}) from error
        if not wanted.is_absolute():
            raise RequestError.invalid_params({"path": path, "details": "the path must be absolute"})
        if not real.is_relative_to(self.folder):
            raise RequestError.invalid_params({"path": path, "details": f"it is outside of {self.folder}"})
        return real


def _read(path: Path) -> str:
    try:
        with _opened(path, os.O_RDONLY) as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _refused(path, error) from error
    if len(content) > _FILE_BYTES_MAX:
        raise RequestError.invalid_params({"path": str(path), "details": f"it has more than {_FILE_BYTES_MAX} bytes"})
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RequestError.invalid_params({"path": str(path), "details": "it is not UTF-8 text"}) from error


def _write(path: Path, text: str) -> None:
    content = text.encode(errors="replace")
    if len(content) > _FILE_BYTES_MAX:
        raise RequestError.invalid_params({"path": str(path), "details": f"more than {_FILE_BYTES_MAX} bytes"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            file.write(content)
    except OSError as error:
        raise _refused(path, error) from error


def _opened(path: Path, flags: int) -> IO[bytes]:
    """Open what was resolved: a link that was put in its place since is not followed, a pipe is not waited for."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # fdopen() refuses a folder, and leaves it open
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    try:
        return os.fdopen(descriptor, "wb" if flags & os.O_WRONLY else "rb")
    except BaseException:  # whatever it is: nobody else knows the descriptor
        os.close(descriptor)
        raise


def _refused(path: Path, error: OSError) -> RequestError:
    if isinstance(error, FileNotFoundError):
        return RequestError.resource_not_found(str(path))
    return RequestError.invalid_params({"path": str(path), "details": error.strerror or str(error)})
