"""What the embedded servers have in common: a folder of their own, a port that stays, leftovers ended before a start.

Whoever makes two objects for one folder loses: the later start ends what the earlier one left running.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from holdfast_local.leftovers import end_leftovers, works_in
from holdfast_local.ports import LOOPBACK, free_ports
from holdfast_local.process import Process


class Server(Process):
    """One server process on loopback, with its data in a folder of its own.

    ``start`` again after ``stop`` or ``kill`` uses the same port and data.
    """

    program: ClassVar[str]

    def __init__(self, name: str, data_dir: Path, port: int | None, log_path: Path | None) -> None:
        """Nothing is started or written yet. Without ``port`` a free one is chosen, once."""
        self.data_dir = data_dir.resolve()
        self.port = free_ports(1)[0] if port is None else port
        super().__init__(name, log_path or self.data_dir / f"{name}.log")

    @property
    @abstractmethod
    def url(self) -> str:
        """What a client connects to. It stays the same over restarts."""

    @property
    def where(self) -> str:
        """``127.0.0.1:<port>``."""
        return f"{LOOPBACK}:{self.port}"

    async def _prepare(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await end_leftovers(works_in(self.data_dir, self.program))
