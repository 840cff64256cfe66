"""A backend in memory: it does each step at once, knows where its work runs, and answers questions from a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from holdfast_agent import Run, Said
from holdfast_agent.backend import ChildEnd, StepAt, StepSpec

_here: ContextVar[StepAt | None] = ContextVar("_here", default=None)


class ScriptedBackend:
    """``answers`` and ``ends`` are given out in order; ``journal`` holds what steps gave back, by position.

    A second run over the same backend after :meth:`replay` finds the journal, and its values are the recorded ones.
    """

    def __init__(self, *, answers: Sequence[Any] = (), ends: Sequence[ChildEnd] = (), tries: int = 1) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.specs: list[StepSpec] = []
        self.journal: list[Any] = []
        self.asked: list[tuple[str, Mapping[str, Any], Mapping[str, Any] | None]] = []
        self.slept: list[float] = []
        self.called: list[tuple[str, Any, Mapping[str, Any]]] = []
        self.made: list[Any] = []
        self.limits: list[int] = []
        self._answers, self._ends = list(answers), list(ends)
        self._tries = tries
        self._steps = self._values = 0

    def replay(self) -> None:
        """From the top again."""
        self._steps = self._values = 0

    @property
    def here(self) -> StepAt | None:
        return _here.get()

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        self.events.append((event_type, data))

    async def step(self, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        self.specs.append(spec)
        self._steps += 1
        place = self._steps
        if place <= len(self.journal):
            return self.journal[place - 1]
        token = _here.set(StepAt(str(place), self._tries))
        try:
            output = await work()
        finally:
            _here.reset(token)
        self.journal.append(output)
        return output

    async def ask(self, name: str, question: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Any:
        self.asked.append((name, question, schema))
        return self._answers.pop(0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def call(self, agent: str, run_input: Any, metadata: Mapping[str, Any]) -> ChildEnd:
        self.called.append((agent, run_input, metadata))
        return self._ends.pop(0)

    async def gather(self, branches: Sequence[Awaitable[Any]]) -> list[Any]:
        return await asyncio.gather(*branches, return_exceptions=True)

    def record(self, make: Callable[[], Any]) -> Any:
        self._values += 1
        if self._values > len(self.made):
            self.made.append(make())
        return self.made[self._values - 1]

    async def partial_text(self) -> str:
        return ""

    async def recorded(self) -> Sequence[Any]:
        return []

    async def history(self, limit: int) -> Sequence[Said]:
        self.limits.append(limit)
        return [Said("user", [{"type": "text", "text": "before"}])]


def run_over(backend: ScriptedBackend) -> Run:
    """A run of attempt 1 over it."""
    return Run(UUID(int=1), "thread", "agent", 1, {}, {}, backend)
