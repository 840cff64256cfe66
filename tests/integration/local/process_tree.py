"""Looking at processes from outside."""

from __future__ import annotations

import psutil


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie whose new parent never asks for it does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]
