"""Postgres 18 as a child process in the foreground, on loopback TCP only.

In its folder: ``cluster/`` (the data), ``password`` (the superuser's, random, readable by the owner alone), the log.
Loopback is open to every user of the machine and a superuser can run programs, hence a password (SCRAM) and no trust. It has
128 random bits, so one hashing iteration is enough, and a connection costs what it cost without.
``fsync`` stays on: the record is the one thing that must not be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import struct
import sys
from pathlib import Path
from typing import ClassVar

from holdfast_local.child import Child
from holdfast_local.ports import LOOPBACK
from holdfast_local.process import ProcessStartFailed
from holdfast_local.servers.postgres_binaries import PostgresBinaries, usable_binaries
from holdfast_local.servers.server import Server

_INITDB_TIMEOUT_S = 60.0
_PROTOCOL_3_0 = 196608
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "dynamic_shared_memory_type": "mmap",  # files in the cluster: a killed server leaves nothing in /dev/shm
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "client_connection_check_interval": "1s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %a ",
}


class PostgresServer(Server):
    """One Postgres server; ``url`` is for its superuser and the database ``postgres``."""

    program: ClassVar[str] = "postgres"
    stop_signal = signal.SIGINT  # "fast": rolls back, disconnects, writes a checkpoint

    def __init__(self, data_dir: Path, port: int | None = None, *, log_path: Path | None = None) -> None:
        super().__init__("postgres", data_dir, port, log_path)
        self._cluster = self.data_dir / "cluster"
        self._password_path = self.data_dir / "password"
        self._binaries: PostgresBinaries | None = None

    @property
    def url(self) -> str:
        """``postgresql://postgres:<password>@127.0.0.1:<port>/postgres``; the password exists after the first start."""
        password = self._password_path.read_text() if self._password_path.exists() else ""
        return f"postgresql://postgres:{password}@{LOOPBACK}:{self.port}/postgres"

    def kill(self) -> None:
        """See ``Process.kill``; what the kernel keeps of a killed server is given back too."""
        if self.pid is not None:
            segment = _shared_memory_id(self._cluster / "postmaster.pid")
            super().kill()
            _remove_shared_memory(segment)

    async def _prepare(self) -> None:
        await super()._prepare()
        if self._binaries is None:
            self._binaries = usable_binaries(self.data_dir)
        if not self._cluster.exists():
            await self._initialise(self._binaries)
        # No postmaster of this folder lives (leftovers were ended), so the file can only mislead: its pid may be reused.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    async def _initialise(self, binaries: PostgresBinaries) -> None:
        """initdb beside the final place, then a rename: a half-made cluster is never taken for a whole one."""
        unfinished = self.data_dir / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._password_path.touch(mode=0o600)
        self._password_path.write_text(secrets.token_hex(16))
        self._give_to_owner(self._password_path)
        command = [
            str(binaries.bin_dir / "initdb"), "--pgdata", str(unfinished), "--username=postgres", "--auth=scram-sha-256",
            f"--pwfile={self._password_path}", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--no-instructions", "--set", "scram_iterations=1",
        ]  # fmt: skip
        for name in ("max_connections", "shared_buffers", "dynamic_shared_memory_type"):
            command += ["--set", f"{name}={_SETTINGS[name]}"]  # given, so that initdb need not try them out
        child = Child(
            command, log_path=self.log_path, env=_environment(), cwd=self.data_dir, identity=binaries.identity
        )
        try:
            code = await asyncio.wait_for(child.exited(), _INITDB_TIMEOUT_S)
        finally:
            child.kill()
        if code != 0:
            raise ProcessStartFailed(self._why(f"could not be initialised (initdb: exit code {code})"))
        unfinished.rename(self._cluster)

    def _spawn(self) -> Child:
        assert self._binaries is not None
        command = [str(self._binaries.bin_dir / "postgres"), "-D", str(self._cluster), "-p", str(self.port)]
        for name, value in _SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        identity = self._binaries.identity
        return Child(command, log_path=self.log_path, env=_environment(), cwd=self.data_dir, identity=identity)

    async def _is_ready(self) -> bool:
        """Ask as ``pg_isready`` does: an authentication request means that it takes connections, an error not yet."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            parameters = b"user\0postgres\0database\0postgres\0\0"
            writer.write(struct.pack("!ii", 8 + len(parameters), _PROTOCOL_3_0) + parameters)
            return await reader.readexactly(1) == b"R"
        finally:
            writer.close()

    def _give_to_owner(self, path: Path) -> None:
        if self._binaries is not None and self._binaries.owner is not None:
            os.chown(path, *self._binaries.owner)


def _environment() -> dict[str, str]:
    """The caller's, without what would speak to Postgres (PGDATA, PGPORT, …)."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _shared_memory_id(postmaster_pid: Path) -> int | None:
    """The id of the server's System V segment: line 7 of ``postmaster.pid`` is "key id"."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(postmaster_pid.read_text().splitlines()[6].split()[1])
    return None


def _remove_shared_memory(segment: int | None) -> None:
    """Give back the 56 bytes by which postmasters recognise each other. A server on the same data does that at its start;
    one whose data is thrown away never would, and the system has 4096 segments in all."""
    if segment is not None and sys.platform == "linux":
        ctypes.CDLL(None).shmctl(segment, 0, None)  # 0: IPC_RMID. Failing means that it is gone already
