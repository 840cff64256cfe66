"""A reaper as a process of its own, for what befalls processes: signals, a freeze, a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from holdfast.settings import ReaperSettings


class ReaperProcess:
    """A reaper as a process of its own."""

    def __init__(self, settings: ReaperSettings, log_path: Path) -> None:
        self._settings = settings
        self.log_path = log_path
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; returns at once."""
        settings = self._settings
        env = dict(os.environ) | {
            "HOLDFAST_POSTGRES_URL": settings.postgres_url,
            "HOLDFAST_NATS_URL": ",".join(settings.nats_url),
            "HOLDFAST_HEARTBEAT_INTERVAL_S": str(settings.heartbeat_interval_s),
            "HOLDFAST_HEARTBEAT_TTL_S": str(settings.heartbeat_ttl_s),
            "HOLDFAST_PROBE_WINDOW_S": str(settings.probe_window_s),
            "HOLDFAST_SWEEP_INTERVAL_S": str(settings.sweep_interval_s),
            "HOLDFAST_SCHEMA_WAIT_S": str(settings.schema_wait_s),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "holdfast_reaper", env=env, stdout=log, stderr=log
            )

    def has_logged(self, *words: str) -> bool:
        """Whether a line of its log has all of these words."""
        lines = self.log_path.read_text().splitlines() if self.log_path.exists() else []
        return any(all(word in line for word in words) for line in lines)

    def send(self, number: signal.Signals) -> None:
        """A signal to it."""
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        assert self.process is not None
        async with asyncio.timeout(15):
            return await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL; safe to repeat."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
