"""``python -m tests.support.kills.runner``: a runner that dies where a run asks for it, and is started again under its name.

Everything is imported once, in a process that only forks; each child is a runner of its own, the shipped one but for hooks at
the boundaries.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import holdfast_agent.builtin.chat
import holdfast_gateway  # noqa: F401 - so that a fork finds all of it imported
from holdfast.runs import Lease
from holdfast.store import Database, owner
from holdfast_runner import execution, trying
from holdfast_runner.__main__ import main
from tests.support.kills.points import Point, reach, wanted


def _hook() -> None:
    intend, checkpoint, open_wait, suspend = owner.intend, owner.checkpoint, owner.open_wait, owner.suspend
    begin, attempt = execution.Execution.__init__, trying.Trying._try
    suspended: dict[Any, list[str]] = {}

    def began(self: Any, links: Any, claimed: Any, *rest: Any, **more: Any) -> None:
        if isinstance(claimed.run.input, dict) and claimed.run.input.get("kill"):
            wanted[claimed.run.id] = claimed.run.input["kill"]
        begin(self, links, claimed, *rest, **more)

    async def intended(db: Database, lease: Lease, *, position: str, **more: Any) -> None:
        reach(lease.run_id, position, Point.BEFORE_INTENT)
        await intend(db, lease, position=position, **more)
        reach(lease.run_id, position, Point.AFTER_INTENT)

    async def tried(
        self: Any, step: Any, spec: Any, tries: int, failure: Any, work: Callable[[int], Awaitable[Any]]
    ) -> Any:
        result = await attempt(self, step, spec, tries, failure, work)
        reach(self._run.id, step.position, Point.AFTER_WORK)
        return result

    async def checkpointed(db: Database, lease: Lease, *, position: str, **more: Any) -> None:
        reach(lease.run_id, position, Point.BEFORE_CHECKPOINT)
        await checkpoint(db, lease, position=position, **more)
        reach(lease.run_id, position, Point.AFTER_CHECKPOINT)

    async def opened(db: Database, lease: Lease, *, position: str, **more: Any) -> Any:
        reach(lease.run_id, position, Point.BEFORE_INTENT)
        wait = await open_wait(db, lease, position=position, **more)
        suspended.setdefault(lease, []).append(position)
        reach(lease.run_id, position, Point.AFTER_INTENT)
        return wait

    async def gave_up(db: Database, lease: Lease, **more: Any) -> Any:
        for position in suspended.get(lease, []):
            reach(lease.run_id, position, Point.BEFORE_CHECKPOINT)
        ended = await suspend(db, lease, **more)
        for position in suspended.pop(lease, []):
            reach(lease.run_id, position, Point.AFTER_CHECKPOINT)
        return ended

    patched: list[tuple[Any, str, Any]] = [
        (owner, "intend", intended),
        (owner, "checkpoint", checkpointed),
        (owner, "open_wait", opened),
        (owner, "suspend", gave_up),
        (execution.Execution, "__init__", began),
        (trying.Trying, "_try", tried),
    ]
    for where, name, hooked in patched:
        setattr(where, name, hooked)


def _keep_running() -> None:
    """Fork a runner, again after each SIGKILL; pass a SIGTERM on."""
    child = 0

    def stop(*_: object) -> None:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        os._exit(0)

    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _die_with_parent()
            main()
        signal.signal(signal.SIGTERM, stop)
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _die_with_parent() -> None:
    """Whoever kills the keeper wants the runner gone too."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


if __name__ == "__main__":
    assert holdfast_agent.builtin.chat
    _hook()
    _keep_running()
