"""A run's journal in memory, for agents that are driven by it: replay, divergence, suspension, and death at any write.

It keeps to the runner's rules (positions, keys, no overlaps, every finished step asked for again), and gives back what went
through JSON with its keys in another order, as Postgres does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from holdfast.errors import AgentFailed
from holdfast_agent import Agent, NeedsPersonError, OnUnknown, Run, Said
from holdfast_agent.backend import ChildEnd, StepAt, StepSpec

_here: ContextVar[StepAt | None] = ContextVar("here", default=None)


class Died(BaseException):
    """The runner was killed here."""


@dataclass
class Row:
    """A step in the record."""

    position: str
    kind: str
    name: str
    request: str
    status: str = "started"
    call_id: str | None = None
    input: Any = None
    output: Any = None
    error: Mapping[str, str] | None = None
    tries: int = 0
    text: str = ""
    finished_as: int = 0

    @property
    def finished(self) -> bool:
        return self.status in ("completed", "failed")


@dataclass
class Record:
    """What outlives attempts. ``writes`` counts them; ``on_write`` is called with each, before and after it.
    ``gate`` keeps new tool and message steps waiting, as a drain does."""

    run_id: UUID = field(default_factory=uuid4)
    rows: dict[str, Row] = field(default_factory=dict)
    asks: dict[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = field(default_factory=dict)
    history: list[Said] = field(default_factory=list)
    writes: int = 0
    on_write: Callable[[str, str], None] = lambda what, when: None
    attempts: int = 0
    gate: asyncio.Event | None = None

    @property
    def text(self) -> str:
        """The text that viewers are left with."""
        return "".join(row.text for row in sorted(self.rows.values(), key=lambda row: row.finished_as))

    @property
    def open_ask(self) -> tuple[str, Mapping[str, Any], Mapping[str, Any] | None] | None:
        """What is asked: position, question, schema."""
        for position, (question, schema) in self.asks.items():
            row = self.rows[position]
            if row.status == "started":
                return position, question, schema
        return None

    def answer(self, value: Any) -> None:
        """Answer what is asked."""
        assert self.open_ask is not None
        row = self.rows[self.open_ask[0]]
        if row.kind != "ask":
            row.status = {"done": "completed", "retry": "retry", "fail": "failed"}[value["outcome"]]
            row.output, row.error = value.get("result"), None
            if row.status == "failed":
                row.error = {"code": "unknown", "message": "a person says that it failed"}
            return
        row.status, row.output, row.finished_as = "completed", value, self.tick()

    def steps(self, kind: str | None = None) -> list[Row]:
        """In order of position."""
        rows = [row for row in self.rows.values() if kind is None or row.kind == kind]
        return sorted(rows, key=lambda row: [int(part) for part in row.position.split(".")])

    def tick(self) -> int:
        """A number that grows."""
        self.writes += 1
        return self.writes

    def write(self, what: str, change: Callable[[], None]) -> None:
        """One write: the runner may die before and after it."""
        self.on_write(what, "before")
        self.tick()
        change()
        self.on_write(what, "after")


class Backend:
    """The backend of one attempt."""

    def __init__(self, record: Record, on_unknown: OnUnknown | None) -> None:
        self._record = record
        self._on_unknown = on_unknown
        self._found = [Row(**vars(row)) for row in record.rows.values()]
        self._unreplayed = {row.position for row in self._found if row.finished}
        self._next = 0
        self._group: str | None = None
        self._open: list[str] = []
        self._alone = False
        self.events: list[tuple[str | None, str, Mapping[str, Any]]] = []
        self.suspended = asyncio.Event()
        self._texts: dict[str, list[str]] = {}

    @property
    def here(self) -> StepAt | None:
        return _here.get()

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        json.dumps(data)
        at = _here.get()
        self.events.append((at.position if at is not None else None, event_type, data))
        if event_type == "text.delta":
            assert at is not None, "text outside of a step would not be kept"
            self._texts.setdefault(at.position, []).append(data["text"])

    def record(self, make: Callable[[], Any]) -> Any:
        raise NotImplementedError

    async def partial_text(self) -> str:
        return ""

    async def history(self, limit: int) -> Sequence[Said]:
        return self._record.history[-limit:]

    async def recorded(self) -> Sequence[Row]:
        return self._found

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    async def call(self, agent: str, run_input: Any, metadata: Mapping[str, Any]) -> ChildEnd:
        raise NotImplementedError

    async def gather(self, branches: Sequence[Awaitable[Any]]) -> list[Any]:
        raise NotImplementedError

    async def step(self, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        assert _here.get() is None, "nested"
        position = self._enter(spec)
        try:
            row = self._row(position, spec.kind, spec.name, spec.request)
            if row is not None and row.finished:
                return _outcome(row)
            await asyncio.sleep(0)  # a write takes its time
            if row is not None and row.status == "started":
                await self._unknown(row, spec)
            return await self._try(position, row, spec, work)
        finally:
            self._open.remove(spec.name)
            self._alone = self._alone and bool(self._open)

    async def _try(self, position: str, row: Row | None, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        if self._record.gate is not None and spec.kind in ("tool", "message"):
            await self._record.gate.wait()
        tries = row.tries + 1 if row is not None else 1
        fresh = row or Row(position, spec.kind, spec.name, _json(spec.request), call_id=spec.call_id, input=spec.input)

        def intend() -> None:
            fresh.status, fresh.tries = "started", tries
            self._record.rows[position] = fresh

        self._record.write(f"intend {spec.kind} {spec.name}", intend)
        token = _here.set(StepAt(position, tries))
        self._texts[position] = []
        output, error = None, None
        try:
            output = json.loads(json.dumps(await work(), sort_keys=True))
        except NeedsPersonError:
            raise NotImplementedError from None
        except AgentFailed as failed:
            error = failed
        finally:
            _here.reset(token)
        await asyncio.sleep(0)

        def checkpoint() -> None:
            fresh.status = "completed" if error is None else "failed"
            fresh.output = output
            fresh.error = {"code": error.code, "message": error.message} if error is not None else None
            fresh.text, fresh.finished_as = "".join(self._texts[position]), self._record.writes

        self._record.write(f"finish {spec.kind} {spec.name}", checkpoint)
        if error is not None:
            raise error
        return output

    async def ask(self, name: str, question: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Any:
        assert _here.get() is None
        position = self._take(name)
        row = self._row(position, "ask", name, {"question": question, "schema": schema})
        self._open, self._alone = [], False
        if row is not None and row.finished:
            return _outcome(row)

        def opened() -> None:
            self._record.rows[position] = Row(position, "ask", name, _json({"question": question, "schema": schema}))
            self._record.asks[position] = (question, schema)

        self._record.write("open ask", opened)
        await self._suspend()
        return None

    async def _unknown(self, row: Row, spec: StepSpec) -> None:
        policy = spec.on_unknown or (OnUnknown.RETRY if spec.idempotent else self._on_unknown or OnUnknown.ASK)
        if policy is OnUnknown.ASK:
            self._record.asks[row.position] = ({"type": "unknown", "step": row.name}, None)
            await self._suspend()
        if policy is OnUnknown.FAIL:
            live = self._record.rows[row.position]
            live.status, live.error = "failed", {"code": "unknown_outcome", "message": "nobody knows"}
            raise AgentFailed("unknown_outcome", "nobody knows")

    async def _suspend(self) -> None:
        self.suspended.set()
        await asyncio.get_running_loop().create_future()

    # -- positions ---------------------------------------------------------------------------------------------------

    def _enter(self, spec: StepSpec) -> str:
        if spec.call_id is None:
            return self._take(spec.name)
        assert not self._alone, f"{spec.name} was started beside {self._open}"
        if self._group is None:
            self._group, self._next = str(self._next), self._next + 1
        self._open.append(spec.name)
        under = {
            row.position: row.call_id
            for row in self._record.rows.values()
            if row.position.startswith(f"{self._group}.")
        }
        for position, call_id in under.items():
            if call_id == spec.call_id:
                return position
        number = max((int(position.split(".")[1]) for position in under), default=-1) + 1
        reserved = Row(f"{self._group}.{number}", spec.kind, spec.name, _json(spec.request), "reserved", spec.call_id)
        self._record.rows[reserved.position] = reserved
        return reserved.position

    def _take(self, name: str) -> str:
        assert not self._open, f"{name} was started beside {self._open}"
        self._open, self._alone, self._group = [name], True, None
        position, self._next = str(self._next), self._next + 1
        return position

    def _row(self, position: str, kind: str, name: str, request: Any) -> Row | None:
        row = self._record.rows.get(position)
        if row is None or row.status == "reserved":
            return None
        if (row.kind, row.name, row.request) != (kind, name, _json(request)):
            raise AgentFailed("diverged", f"{position}: journal {row}, agent {kind} {name} {request}")
        self._unreplayed.discard(position)
        return row

    def refuse_unreplayed(self) -> None:
        """At the run's end."""
        assert not self._unreplayed, f"ended without {self._unreplayed}"


def _json(value: Any) -> str:
    return json.dumps(value)  # in its own order, as the runner hashes it


def _outcome(row: Row) -> Any:
    if row.error is not None:
        raise AgentFailed(row.error["code"], row.error["message"])
    return json.loads(json.dumps(row.output, sort_keys=True))


@dataclass
class Attempt:
    """How an attempt ended: one of them is set."""

    backend: Backend
    output: Any = None
    error: BaseException | None = None
    waits: bool = False


async def attempt(agent: Agent, record: Record, run_input: Any, *, timeout_s: float = 20.0) -> Attempt:
    """One attempt of a run, to its end, its suspension or its runner's death."""
    for position in [position for position, row in record.rows.items() if row.status == "reserved"]:
        del record.rows[position]
    record.attempts += 1
    backend = Backend(record, agent.on_unknown)
    run = Run(record.run_id, "thread", agent.name, record.attempts, run_input, {}, backend)
    task = asyncio.ensure_future(agent.function(run))
    waiting = asyncio.create_task(backend.suspended.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=timeout_s)
        if backend.suspended.is_set() and not task.done():
            task.cancel()
            await asyncio.wait({task})
            return Attempt(backend, waits=True)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            raise AssertionError(f"the attempt did not end; journal: {record.steps()}")
    finally:
        waiting.cancel()
    if task.cancelled():
        return Attempt(backend, error=asyncio.CancelledError())
    if (error := task.exception()) is not None:
        return Attempt(backend, error=error)
    backend.refuse_unreplayed()
    return Attempt(backend, output=task.result())
