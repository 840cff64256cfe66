"""What an agent's ``Run`` works with: events out, steps through the journal, waits, all of it replayed or done.

Here is where an agent's calls find their places in the journal; ``trying`` does the work of steps, ``stage`` shows it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID, uuid5

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from holdfast.errors import AgentFailed, LostOwnership
from holdfast.store import Database, JournalStep, RunRow, owner
from holdfast_agent import Agent, Said
from holdfast_agent.backend import ChildEnd, StepAt, StepSpec
from holdfast_runner.journal import Journal, Known, Step, hash_of, until_known
from holdfast_runner.positions import Scope
from holdfast_runner.recordable import clean_text, encode
from holdfast_runner.stage import Stage
from holdfast_runner.trying import Boundary, Trying
from holdfast_runner.waiting import OpenWait, Waiting

_scope: ContextVar[Scope | None] = ContextVar("scope", default=None)
_here: ContextVar[StepAt | None] = ContextVar("here", default=None)
_INPUT_BYTES_MAX = 64 * 1024
_NAME_CHARS_MAX = 200


class RunBackend:
    """The backend of one attempt.

    Args:
        db: the record.
        run: the run.
        agent: whose code this is.
        journal: the run's journal.
        stage: where it is shown.
        boundary: asked before each step and each try of one.
        on_step_ended: called when a step was worked on and has ended, in whatever way.
        on_idle: called with what is waited for, once nothing else goes on.
        on_lost: called when a write of the journal finds that somebody else has the run.
        on_child: called when a child run was made: it wants a runner.
        earlier_text: what viewers were shown by an earlier attempt's try of the step at a position.
    """

    def __init__(
        self,
        db: Database,
        run: RunRow,
        agent: Agent,
        journal: Journal,
        stage: Stage,
        *,
        boundary: Boundary,
        on_step_ended: Callable[[], None],
        on_idle: Callable[[Sequence[OpenWait]], None],
        on_lost: Callable[[str], None],
        on_child: Callable[[UUID, str], Awaitable[None]],
        earlier_text: Callable[[str], Awaitable[str]],
    ) -> None:
        self._db = db
        self._run = run
        self._agent = agent
        self._journal = journal
        self._stage = stage
        self._boundary = boundary
        self._on_step_ended = on_step_ended
        self._on_lost = on_lost
        self._on_child = on_child
        self._earlier_text = earlier_text
        self._root = Scope()
        self.waiting = Waiting(on_idle)
        self.trying = Trying(run, agent, journal, stage, waiting=self.waiting, boundary=boundary)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def here(self) -> StepAt | None:
        """See :class:`holdfast_agent.backend.Backend`, here and below."""
        return _here.get()

    def close(self) -> None:
        """From now on nothing can be shown or done: the attempt is ending."""
        self._stage.close()
        self.waiting.close()

    # -- showing -----------------------------------------------------------------------------------------------------

    def emit(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Show an event; silent for what viewers have from earlier attempts."""
        if threading.get_ident() != self._thread:
            context = contextvars.copy_context()
            self._loop.call_soon_threadsafe(context.run, self._emit_late, event_type, data)
            return
        here = _here.get()
        self._stage.show(
            event_type, data, position=here.position if here is not None else None, scope=self._scope.prefix
        )

    def _emit_late(self, event_type: str, data: Mapping[str, Any]) -> None:
        """From a thread, which has gone on: it cannot be told of a failure."""
        try:
            self.emit(event_type, data)
        except (AgentFailed, LostOwnership) as error:
            self._stage.refused_late(event_type, error)

    def record(self, make: Callable[[], Any]) -> Any:
        """A value of the agent's own line; within a step's work, which is not replayed, simply a new one."""
        self._stage.refuse_closed()
        return make() if _here.get() is not None else self._journal.values.take(self._scope.prefix, make)

    async def history(self, limit: int) -> Sequence[Said]:
        """What was said on the thread before this run."""
        rows = await until_known(lambda: owner.said_before(self._db, self._run, limit=limit))
        return [Said(role, parts, status) for role, parts, status in rows]

    async def recorded(self) -> Sequence[JournalStep]:
        """The journal as this attempt found it."""
        return self._journal.found.steps

    async def partial_text(self) -> str:
        """Within a step's work that an earlier attempt had begun: the text that it had shown."""
        here = _here.get()
        return await self._earlier_text(here.position) if here is not None and here.tries > 1 else ""

    # -- steps -------------------------------------------------------------------------------------------------------

    @property
    def _scope(self) -> Scope:
        return _scope.get() or self._root

    @contextmanager
    def _entered(self, name: str, call_id: str | None = None) -> Iterator[str]:
        """The place of an item in the journal, while it is open."""
        self._stage.refuse_closed()
        scope = self._scope
        position = scope.enter(name) if call_id is None else scope.enter_keyed(name, call_id, self._journal.keys_under)
        try:
            yield position
        except LostOwnership as lost:
            if not self._stage.closed:
                self._on_lost(str(lost))
            raise
        finally:
            scope.leave(name, call_id)

    async def step(self, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        """One durable step: replayed when finished, else journalled, tried, shown, journalled."""
        name = clean_text(str(spec.name))[:_NAME_CHARS_MAX]
        request = encode(spec.request, what=f"the request of step {name!r}", bytes_max=self._stage.bytes_max)
        with self._entered(name, spec.call_id) as position:
            shown = _shown_input(spec.input, name)
            nested = self._scope.nested
            step = Step(position, spec.kind, name, hash_of(request), spec.call_id, shown, spec.timeout_s, nested)
            known = self._journal.replay(step)
            if known is not None and known.finished:
                return _outcome(known)
            try:
                with self.waiting.active():
                    return await self.trying.go(step, spec, known, lambda tries: _within(step, tries, work))
            finally:
                self._on_step_ended()

    async def gather(self, branches: Sequence[Awaitable[Any]]) -> list[Any]:
        """Run branches side by side, each a scope of its own."""
        if not branches:
            return []
        for each in branches:
            if not inspect.iscoroutine(each):
                raise TypeError(
                    f"run.gather takes coroutines that have not begun, such as run.step(...), and not {each!r}"
                )
        self._stage.refuse_closed()
        scope = self._scope
        group = scope.enter_group("gather")
        try:
            tasks = [
                asyncio.create_task(self._branch(Scope.branch(group, number), each), name=f"branch {group}.{number}")
                for number, each in enumerate(branches)
            ]
            return await _all_of(tasks)
        finally:
            scope.leave("gather")

    async def _branch(self, scope: Scope, branch: Awaitable[Any]) -> Any:
        _scope.set(scope)
        with self.waiting.active():
            try:
                return await branch
            except SystemExit as left:  # would leave the event loop, and end the pod
                raise AgentFailed("agent_error", f"the agent called sys.exit({left.code})") from left

    # -- waits -------------------------------------------------------------------------------------------------------

    async def ask(self, name: str, question: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Any:
        """Ask a person."""
        if schema is not None:
            try:
                Draft202012Validator.check_schema(schema)
            except SchemaError as error:
                raise AgentFailed(
                    "invalid_schema", f"the schema of question {name!r} is none: {error.message}"
                ) from error
        request = {"question": question, "schema": schema}
        return await self._wait("ask", name, request, question=question, schema=schema)

    async def sleep(self, seconds: float) -> None:
        """Wait without a slot."""
        await self._wait("sleep", "sleep", {"seconds": seconds}, seconds=float(seconds))

    async def call(self, agent: str, run_input: Any, metadata: Mapping[str, Any]) -> ChildEnd:
        """Run another agent, and wait for its end."""
        request = {"agent": agent, "input": run_input}
        end = await self._wait("child", agent, request, child_metadata=metadata)
        return ChildEnd(end["run_id"], end["status"], end["output"], end["error"])

    async def _wait(
        self,
        kind: str,
        name: str,
        request: Mapping[str, Any],
        *,
        question: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        child_metadata: Mapping[str, Any] | None = None,
    ) -> Any:
        encoded = encode(request, what=f"what {name!r} waits for", bytes_max=self._stage.bytes_max)
        with self._entered(name) as position:
            step = Step(position, kind, clean_text(name)[:_NAME_CHARS_MAX], hash_of(encoded), input=question)
            known = self._journal.replay(step)
            if known is not None and known.finished:
                return _outcome(known)
            await self._boundary(None)
            wait_id = uuid5(self._run.id, f"{position}/{kind}")
            child = None
            if child_metadata is not None:
                earlier = self._journal.wait(wait_id)
                there = earlier.child_run_id if earlier is not None else None
                try:
                    child = await self._child(name, request["input"], child_metadata, there=there)
                except AgentFailed as failed:
                    try:
                        await self.trying.fail(step, known.tries if known is not None else 1, failed)
                    finally:
                        self._on_step_ended()
                    raise
            opened = await self._journal.open_wait(
                wait_id, step, kind=kind, question=question, schema=schema, seconds=seconds, child=child
            )
            if child is not None and child.pool:
                await self._on_child(child.run_id, child.pool)
            self._stage.begin_wait(step)
            return await self.waiting.block(
                OpenWait(wait_id, position, kind, question, schema, opened.wake_at, opened.child_run_id)
            )

    async def _child(
        self, agent: str, run_input: Any, metadata: Mapping[str, Any], *, there: UUID | None
    ) -> owner.Child:
        """The child run to make; one that is ``there`` is only named, whatever became of its agent.

        Raises:
            AgentFailed: ``unknown_agent``, ``invalid_input``, ``not_json``, ``too_large``.
        """
        if there is not None:
            return owner.Child(there, agent, "", run_input, {})
        encode(metadata, what=f"the metadata of child {agent!r}", bytes_max=self._stage.bytes_max)
        found = await until_known(lambda: owner.agent_of(self._db, agent))
        if found is None:
            raise AgentFailed("unknown_agent", f"no runner has loaded an agent named {agent!r}")
        refuse_misfit(run_input, found.input_schema, what=f"the input of child {agent!r}")
        run_id = await until_known(lambda: owner.fresh_id(self._db))
        return owner.Child(run_id, agent, found.pool, run_input, dict(metadata))


def _outcome(known: Known) -> Any:
    """What a finished step gives back."""
    if known.error is not None:
        raise AgentFailed(known.error["code"], known.error["message"])
    return known.output


async def _within(step: Step, tries: int, work: Callable[[], Awaitable[Any]]) -> Any:
    """The work of a step, where it knows its place."""
    scope = _scope.set(Scope.within(step.position))
    here = _here.set(StepAt(step.position, tries))
    try:
        return await work()
    finally:
        _here.reset(here)
        _scope.reset(scope)


async def _all_of(tasks: Sequence[asyncio.Task[Any]]) -> list[Any]:
    """Their results and exceptions, when all have ended. Whoever cancels this cancels them."""
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return [asyncio.CancelledError() if task.cancelled() else task.exception() or task.result() for task in tasks]


def _shown_input(value: Any, name: str) -> Any:
    """What viewers are shown of a step's input: all of it, unless it is large."""
    if value is None:
        return None
    size = len(encode(value, what=f"the input of step {name!r}", bytes_max=1 << 62))
    return value if size <= _INPUT_BYTES_MAX else {"left_out": f"{size} bytes"}


def refuse_misfit(value: Any, schema: Mapping[str, Any], *, what: str) -> None:
    """Check a value against a JSON schema.

    Raises:
        AgentFailed: ``invalid_input``.
    """
    if not schema:
        return
    problem = best_match(Draft202012Validator(schema).iter_errors(value))
    if problem is not None:
        raise AgentFailed("invalid_input", f"{what}: {problem.json_path}: {problem.message}")
