"""A durable step whose work is the child's: it stays open while the child's messages for it come in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from holdfast.errors import AgentFailed
from holdfast_agent.backend import StepSpec
from holdfast_agent.run import Run

Show = tuple[str, Mapping[str, Any]]


class OpenStep:
    """One step of the run, in a task of its own. What is shown through it belongs to it, and is kept when it has ended.

    Args:
        run: the run.
        spec: the step.
        at_start: called when its intent is journalled, before anything else.
    """

    def __init__(self, run: Run, spec: StepSpec, at_start: Callable[[], None] | None = None) -> None:
        self._run = run
        self._spec = spec
        self._at_start = at_start
        self._shows: asyncio.Queue[Show | None] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._result: Any = None
        self._failure: AgentFailed | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def begun(self) -> bool:
        """Is its intent in the journal?"""
        return self._begun.is_set()

    async def begin(self) -> None:
        """Returns when the intent is journalled.

        Raises:
            AgentFailed: the journal refuses the step.
            LostOwnership: somebody else has the run.
            CancelledError: the attempt is to stop.
        """
        self._task = asyncio.create_task(self._run.backend.step(self._spec, self._work), name=f"step {self._spec.name}")
        begun = asyncio.create_task(self._begun.wait())
        try:
            await asyncio.wait({self._task, begun}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            begun.cancel()
        if self._task.done():
            self._task.result()

    def show(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Show an event within the step."""
        self._shows.put_nowait((event_type, data))

    async def end(self, result: Any) -> Any:
        """End it. Returns what the journal has as its result. Raises as :meth:`begin` does."""
        self._result = result
        return await self._ended()

    async def fail(self, failure: AgentFailed) -> None:
        """End it as failed. Raises as :meth:`begin` does, but not ``failure``."""
        self._failure = failure
        try:
            await self._ended()
        except AgentFailed as failed:
            if failed.code != failure.code:
                raise

    async def drop(self) -> None:
        """The attempt is over: leave it as the journal has it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ended(self) -> Any:
        assert self._task is not None
        self._shows.put_nowait(None)
        return await self._task

    async def _work(self) -> Any:
        if self._at_start is not None:
            self._at_start()
        self._begun.set()
        while (show := await self._shows.get()) is not None:
            self._run.backend.emit(*show)
        if self._failure is not None:
            raise self._failure
        return self._result
