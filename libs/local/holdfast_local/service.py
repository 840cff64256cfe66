"""Holdfast's own services as processes: a Python module, an environment, a readiness endpoint on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from holdfast_local.child import Child
from holdfast_local.ports import LOOPBACK
from holdfast_local.process import Process

_REASON_BYTES_MAX = 2_000
_FIRST_REASON_MAX = 300


class Service(Process):
    """``python -m <module>`` with ``/readyz`` on ``ready_port``."""

    def __init__(
        self,
        name: str,
        module: str,
        *,
        env: Mapping[str, str],
        ready_port: int,
        log_path: Path,
        where: str,
        stop_timeout_s: float = 10.0,
    ) -> None:
        """``env`` is added to this process's own at each start. Nothing is started yet."""
        super().__init__(name, log_path)
        self.not_ready_because = "it has not answered yet"
        self.stop_timeout_s = stop_timeout_s
        self._module = module
        self.environment = dict(env)
        self._ready_port = ready_port
        self._where = where

    @property
    def where(self) -> str:
        """Its address, for a person."""
        return self._where

    @property
    def first_reason(self) -> str:
        """The first thing that keeps it from being ready, on one line."""
        try:
            reason = str(json.loads(self.not_ready_because)["reasons"][0])
        except (ValueError, LookupError, TypeError):  # no answer yet, or one that was cut off
            reason = self.not_ready_because
        return " ".join(reason.split())[:_FIRST_REASON_MAX]

    def _spawn(self) -> Child:
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment}
        return Child([sys.executable, "-m", self._module], log_path=self.log_path, env=env)

    async def _is_ready(self) -> bool:
        status, body = await _get("/readyz", self._ready_port)
        self.not_ready_because = body
        return status == 200


async def _get(path: str, port: int) -> tuple[int, str]:
    """One HTTP request; its status and the beginning of its body. An HTTP library would cost ``holdfast up`` 0.15 s."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read(_REASON_BYTES_MAX)
        _, status, *_ = head.split(None, 2)
        return int(status) if status.isdigit() else 0, body.decode(errors="replace").strip()
    finally:
        writer.close()
