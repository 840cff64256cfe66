"""A run's backend in memory: a journal that outlives attempts, and attempts that may be killed at each of its writes.

It keeps what the runner's backend keeps (places, keys, hashes, outputs as JSON) and nothing of how.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from holdfast.errors import AgentFailed
from holdfast_agent import Agent, Run
from holdfast_agent.backend import ChildEnd, Said, StepAt, StepSpec
from holdfast_agent.failures import FailureClass, classify

_here: ContextVar[StepAt | None] = ContextVar("here", default=None)
_scope: ContextVar[str] = ContextVar("scope", default="")


class KilledError(BaseException):
    """The process is gone."""


@dataclass
class Row:
    """A step in the journal."""

    spec: StepSpec
    asked: str
    status: str = "started"
    tries: int = 0
    output: Any = None
    error: AgentFailed | None = None
    failures: list[str] = field(default_factory=list)


@dataclass
class Record:
    """What outlives an attempt. ``answers`` by question, in the order of asking."""

    rows: dict[str, Row] = field(default_factory=dict)
    questions: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)

    def steps(self, kind: str) -> list[Row]:
        """The steps of a kind, in the order of their intents."""
        return [row for row in self.rows.values() if row.spec.kind == kind]

    def answer_all(self, *answers: Any) -> None:
        """Answer the open questions, in order."""
        still_open = [position for position in self.questions if position not in self.answers]
        self.answers.update(zip(still_open, answers, strict=True))


@dataclass
class MemoryBackend:
    """One attempt. ``kill_at`` is the number of the write (from 1) at which it dies, before the write happens."""

    record_: Record
    said: Sequence[Said] = ()
    kill_at: int | None = None
    events: list[tuple[str, str | None, Any]] = field(default_factory=list)
    writes: int = 0
    done: list[str] = field(default_factory=list)
    suspended: asyncio.Event = field(default_factory=asyncio.Event)
    killed: asyncio.Event = field(default_factory=asyncio.Event)
    _next: dict[str, int] = field(default_factory=dict)
    _group: dict[str, int] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _alone: dict[str, str] = field(default_factory=dict)
    _blocked: int = 0
    _branches: int = 0

    @property
    def here(self) -> StepAt | None:
        return _here.get()

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        at = _here.get()
        self.events.append((event_type, at.position if at else None, dict(data)))
        if at is not None and event_type == "text.delta":
            self.record_.shown[at.position] = self.record_.shown.get(at.position, "") + data["text"]

    async def partial_text(self) -> str:
        at = _here.get()
        assert at is not None
        return self._partial.get(at.position, "")

    _partial: dict[str, str] = field(default_factory=dict)

    async def step(self, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        assert _here.get() is None, f"step {spec.name!r} within a step"
        asked = json.dumps(spec.request, sort_keys=True)
        with self._placed(spec) as position:
            row = self.record_.rows.get(position)
            if row is not None and (row.spec.kind, row.spec.name, row.asked) != (spec.kind, spec.name, asked):
                raise AgentFailed("diverged", f"{position}: {row.spec.name} {row.asked} is now {spec.name} {asked}")
            if row is None or row.status == "started":
                row = self.record_.rows.setdefault(position, Row(spec, asked))
                await self._work(position, row, work)
            if row.error is not None:
                raise row.error
            return json.loads(json.dumps(row.output))

    async def _work(self, position: str, row: Row, work: Callable[[], Awaitable[Any]]) -> None:
        while row.status == "started":
            row.tries += 1
            self._write()
            self._partial[position] = self.record_.shown.pop(position, "")
            token = _here.set(StepAt(position, row.tries))
            self.done.append(row.spec.name)
            try:
                output = await work()
                failure = None
            except Exception as error:
                failure = error
            finally:
                _here.reset(token)
            self._write()
            if failure is None:
                row.status, row.output = "completed", json.loads(json.dumps(output))
                return
            known = failure if isinstance(failure, AgentFailed) else AgentFailed("step_error", str(failure))
            row.failures.append(known.code)
            again = classify(failure, row.spec.retry) is FailureClass.RETRYABLE
            if not again or row.tries >= row.spec.retry.tries:
                row.status, row.error = "failed", known

    def _write(self) -> None:
        self.writes += 1
        if self.killed.is_set() or self.writes == self.kill_at:
            self.killed.set()
            raise KilledError

    async def ask(self, name: str, question: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Any:
        assert _here.get() is None, "ask within a step"
        with self._placed(StepSpec("ask", name, question)) as position:
            self.record_.questions[position] = question
            if position not in self.record_.answers:
                self._blocked += 1
                if self._blocked >= self._branches:
                    self.suspended.set()
                await asyncio.get_running_loop().create_future()
            return self.record_.answers[position]

    async def gather(self, branches: Sequence[Awaitable[Any]]) -> list[Any]:
        with self._placed(StepSpec("gather", "gather", None)) as group:
            self._branches = len(branches)

            async def branch(number: int, work: Awaitable[Any]) -> Any:
                _scope.set(f"{group}.{number}/")
                return await work

            tasks = [asyncio.create_task(branch(number, work)) for number, work in enumerate(branches)]
            try:
                return list(await asyncio.gather(*tasks, return_exceptions=True))
            finally:
                for task in tasks:
                    task.cancel()

    def record(self, make: Callable[[], Any]) -> Any:
        scope = _scope.get()
        number = self._next[f"value {scope}"] = self._next.get(f"value {scope}", -1) + 1
        return self.record_.recorded.setdefault(f"{scope}{number}", make())

    async def recorded(self) -> Sequence[Any]:
        return []

    async def history(self, limit: int) -> Sequence[Said]:
        return self.said[-limit:]

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    async def call(self, agent: str, run_input: Any, metadata: Mapping[str, Any]) -> ChildEnd:
        raise NotImplementedError

    @contextmanager
    def _placed(self, spec: StepSpec) -> Iterator[str]:
        """A place, as the runner gives them: keyed steps between two others share a group."""
        scope = _scope.get()
        assert scope not in self._alone, f"{spec.name!r} was started beside {self._alone.get(scope)!r}"
        if spec.call_id is not None:
            if scope not in self._group:
                self._group[scope] = self._take(scope)
            position = f"{scope}{self._group[scope]}[{spec.call_id}]"
            assert position not in self._keys, f"{spec.call_id!r} was used before"
            self._keys.add(position)
            yield position
            return
        self._group.pop(scope, None)
        self._alone[scope] = spec.name
        try:
            yield f"{scope}{self._take(scope)}"
        finally:
            del self._alone[scope]

    def _take(self, scope: str) -> int:
        self._next[scope] = self._next.get(scope, -1) + 1
        return self._next[scope]

    @property
    def text(self) -> str:
        """The text that was shown."""
        return "".join(data["text"] for kind, _, data in self.events if kind == "text.delta")


@dataclass
class Ended:
    """How an attempt ended: ``how`` is done, suspended or killed."""

    how: str
    backend: MemoryBackend
    output: Any = None


async def attempt(
    agent: Agent,
    record: Record,
    run_input: Any,
    *,
    said: Sequence[Said] = (),
    kill_at: int | None = None,
    number: int = 1,
) -> Ended:
    """Run one attempt until it is done, waits for answers or was killed. Raises what the agent raised."""
    backend = MemoryBackend(record, said, kill_at)
    run = Run(RUN_ID, "thread", agent.name, number, run_input, {}, backend)
    task = asyncio.create_task(_run(agent, run, backend))
    stops = [asyncio.create_task(backend.suspended.wait()), asyncio.create_task(backend.killed.wait())]
    async with asyncio.timeout(20):
        await asyncio.wait({task, *stops}, return_when=asyncio.FIRST_COMPLETED)
        how = "killed" if backend.killed.is_set() else "suspended" if not task.done() else "done"
        for each in (task, *stops):
            if not each.done():
                each.cancel()
        results = await asyncio.gather(task, *stops, return_exceptions=True)
    if how == "done" and isinstance(results[0], BaseException):
        raise results[0]
    return Ended(how, backend, results[0] if how == "done" else None)


async def _run(agent: Agent, run: Run, backend: MemoryBackend) -> Any:
    try:
        return await agent.function(run)
    except KilledError:
        assert backend.killed.is_set()
        return None


RUN_ID = UUID("00000000-0000-4000-8000-000000000001")


def chat(*texts: str) -> dict[str, Any]:
    """A chat input."""
    return {"messages": [{"role": "user", "content": text} for text in texts]}
