"""The work of a step: an intent before each try, a checkpoint after the last, and what becomes of an outcome that nobody knows.

Append, then commit: what a step has shown is in the event log before the record says that the step is finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn
from uuid import UUID, uuid5

from pydantic_core import from_json

from holdfast.errors import AgentFailed, LostOwnership
from holdfast.store import RunRow
from holdfast_agent import Agent, OnUnknown
from holdfast_agent.backend import StepSpec
from holdfast_agent.failures import FailureClass, classify
from holdfast_runner.journal import Journal, Known, Step
from holdfast_runner.recordable import encode, error_of
from holdfast_runner.stage import Stage
from holdfast_runner.waiting import OpenWait, Waiting

Boundary = Callable[[Step | None], Awaitable[None]]
"""Awaited where a step, or another try of one, is about to start; raises what stops the agent."""
Work = Callable[[int], Awaitable[Any]]
"""Does one try, told which it is."""


def unknown_schema(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """JSON schema of the answer to "was it done?"; ``result`` is that of the step's result, None: any."""
    of_result = dict(result or {})
    definitions = of_result.pop("$defs", None)
    answers: list[dict[str, Any]] = [
        {"properties": {"outcome": {"const": "done"}, "result": of_result}, "required": ["outcome", "result"]},
        {"properties": {"outcome": {"const": "retry"}}, "required": ["outcome"]},
        {"properties": {"outcome": {"const": "fail"}, "message": {"type": "string"}}, "required": ["outcome"]},
    ]
    schema: dict[str, Any] = {
        "oneOf": [{"type": "object", **answer, "additionalProperties": False} for answer in answers]
    }
    return schema if definitions is None else {**schema, "$defs": definitions}


class Trying:
    """Does the work of one attempt's steps."""

    def __init__(
        self, run: RunRow, agent: Agent, journal: Journal, stage: Stage, *, waiting: Waiting, boundary: Boundary
    ) -> None:
        self._run = run
        self._agent = agent
        self._journal = journal
        self._stage = stage
        self._waiting = waiting
        self._boundary = boundary
        self._in_work: set[str] = set()
        self._ending = asyncio.Lock()
        self._endings: set[asyncio.Task[None]] = set()
        self._dropped = False

    @property
    def in_work(self) -> bool:
        """Is a step being worked on, from its intent to its checkpoint?"""
        return bool(self._in_work)

    async def ended(self) -> None:
        """Wait until the ends of steps that are being written are written: viewers have seen them."""
        while self._endings:
            await asyncio.wait(self._endings)

    def drop(self) -> None:
        """The run is lost, or given up: write nothing more."""
        self._dropped = True
        for task in self._endings:
            task.cancel()

    async def go(self, step: Step, spec: StepSpec, known: Known | None, work: Work) -> Any:
        """All tries of a step that is not finished. Returns its output.

        Raises:
            AgentFailed: it failed for good.
        """
        tries, failures = (known.tries, 0) if known is not None else (0, 0)
        failure: Mapping[str, Any] | None = None
        if known is not None and known.status == "started":
            why = f"try {tries} of it was begun, and its pod went away before the result was known"
            await self._meet_unknown(step, spec, tries, why)
        while True:
            self._journal.refuse_diverged()
            await self._boundary(step)
            tries += 1
            self._in_work.add(step.position)
            try:
                output, error = await self._try(step, spec, tries, failure, work)
                if error is None:
                    await self._finish(step, tries, output=output)
                    return output
                failures += 1
                told = error_of(_as_failed(step, error))
                failure = {"try": tries, **told}
                kind = self._class_of(error, step, spec)
                if kind is FailureClass.PERMANENT or (kind is FailureClass.RETRYABLE and failures >= spec.retry.tries):
                    await self._finish(step, tries, error=told, failure=failure)
                    raise AgentFailed(told["code"], told["message"]) from error  # as a replay will
            finally:
                self._in_work.discard(step.position)
                self._stage.leave(step)
            if kind is FailureClass.NEEDS_PERSON:
                await self._ask(step, spec, tries, told["message"], failure=failure)
            self._stage.fail_try(step, tries, told)
            await asyncio.sleep(spec.retry.delay_s(failures))

    async def fail(self, step: Step, tries: int, failed: AgentFailed) -> None:
        """Journal that a step failed without any work of this attempt."""
        await self._boundary(step)
        self._in_work.add(step.position)
        try:
            await self._journal.intend(step, tries, None)
            self._stage.begin(step, tries)
            await self._finish(step, tries, error=error_of(failed))
        finally:
            self._in_work.discard(step.position)
            self._stage.leave(step)

    async def _try(
        self, step: Step, spec: StepSpec, tries: int, failure: Mapping[str, Any] | None, work: Work
    ) -> tuple[Any, BaseException | None]:
        """One try: its output as a replay would give it back, or its error."""
        await self._journal.intend(step, tries, failure)
        self._stage.begin(step, tries)
        task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        limit = asyncio.timeout(spec.timeout_s)
        error: BaseException | None = None
        encoded = b"null"
        try:
            async with limit:
                output = await work(tries)
            encoded = encode(output, what=f"the output of step {step.name!r}", bytes_max=self._stage.bytes_max)
        except LostOwnership:
            raise
        except (Exception, SystemExit) as raised:
            if task.cancelling() > cancels:  # it was cut off, whatever it makes of that: nobody knows what was done
                raise asyncio.CancelledError from raised
            error = _TimedOut(f"it took longer than {spec.timeout_s:g} s") if limit.expired() else raised
        self._stage.refuse_closed()
        self._journal.refuse_diverged()  # within the work, whatever that made of it
        return from_json(encoded), error

    async def _finish(
        self,
        step: Step,
        tries: int,
        *,
        output: Any = None,
        error: Mapping[str, str] | None = None,
        failure: Mapping[str, Any] | None = None,
    ) -> None:
        """Show and journal the end of a step. Whoever cancels its task meanwhile comes too late: it is finished first."""
        if self._dropped:
            raise asyncio.CancelledError
        ending = asyncio.create_task(
            self._write_end(step, tries, output=output, error=error, failure=failure), name=f"end of {step.position}"
        )
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait({ending})
            raise

    async def _write_end(
        self,
        step: Step,
        tries: int,
        *,
        output: Any,
        error: Mapping[str, str] | None,
        failure: Mapping[str, Any] | None,
    ) -> None:
        # One after the other, of steps side by side too: a later end in the record is kept with all events before it.
        async with self._ending:
            settled = await self._stage.finish(step, tries, output=output, error=error)
            await self._journal.checkpoint(
                step.position,
                output=output,
                error=error,
                shown_text=settled.shown_text,
                finish_id=settled.finish_id,
                last_event_id=settled.last_event_id,
                emits=settled.emits,
                failure=failure,
            )

    # -- outcomes that nobody knows ----------------------------------------------------------------------------------

    def _policy(self, step: Step, spec: StepSpec) -> OnUnknown:
        if spec.on_unknown is not None:
            policy = spec.on_unknown
        elif spec.idempotent or spec.kind == "model":
            policy = OnUnknown.RETRY
        elif self._run.on_unknown is not None:
            policy = OnUnknown(self._run.on_unknown)
        else:
            policy = self._agent.on_unknown or OnUnknown.ASK
        # within the work of another step nothing can wait
        return OnUnknown.FAIL if policy is OnUnknown.ASK and step.nested else policy

    def _class_of(self, error: BaseException, step: Step, spec: StepSpec) -> FailureClass:
        if isinstance(error, _TimedOut):  # what it did is not known
            return _CLASS_OF_UNKNOWN[self._policy(step, spec)]
        found = classify(error, spec.retry)
        return FailureClass.PERMANENT if found is FailureClass.NEEDS_PERSON and step.nested else found

    async def _meet_unknown(self, step: Step, spec: StepSpec, tries: int, why: str) -> None:
        """An earlier attempt began it: was it done or not? Returns when it may be tried again.

        Raises:
            AgentFailed: ``unknown_outcome``.
        """
        policy = self._policy(step, spec)
        asked = self._journal.wait(self._question_id(step, tries))
        if asked is not None and asked.done_at is None:  # work that needed a person, whatever its policy
            await self._ask(step, spec, tries, why, question=asked.question)
        if policy is OnUnknown.ASK:
            await self._ask(step, spec, tries, why)
        if policy is OnUnknown.FAIL:
            failed = AgentFailed("unknown_outcome", f"step {step.name!r} may or may not have been done: {why}")
            await self.fail(step, tries, failed)
            raise failed

    def _question_id(self, step: Step, tries: int) -> UUID:
        return uuid5(self._run.id, f"{step.position}/unknown/{tries}")

    async def _ask(
        self,
        step: Step,
        spec: StepSpec,
        tries: int,
        why: str,
        *,
        question: Mapping[str, Any] | None = None,
        failure: Mapping[str, Any] | None = None,
    ) -> NoReturn:
        """Have a person say. The answer comes with a later attempt, by the journal.

        Args:
            step: which.
            spec: of it.
            tries: how often it was tried.
            why: nobody knows, for a person.
            question: as it was asked before.
            failure: how the last try ended.
        """
        await self._boundary(step)
        schema = unknown_schema(spec.result_schema)
        wait_id = self._question_id(step, tries)
        question = question or {
            "type": "unknown",
            "text": f"Was {step.name!r} done? {why[:1].upper()}{why[1:]}.",
            "step": {"position": step.position, "kind": step.kind, "name": step.name, "input": step.input},
            "tries": tries,
        }
        await self._journal.open_wait(wait_id, step, kind="unknown", question=question, schema=schema, failure=failure)
        self._stage.begin_wait(step, tries)
        await self._waiting.block(OpenWait(wait_id, step.position, "unknown", question, schema))


_CLASS_OF_UNKNOWN: Mapping[OnUnknown, FailureClass] = {
    OnUnknown.RETRY: FailureClass.RETRYABLE,
    OnUnknown.FAIL: FailureClass.PERMANENT,
    OnUnknown.ASK: FailureClass.NEEDS_PERSON,
}


class _TimedOut(Exception):
    """A try took too long: what it did is not known."""


def _as_failed(step: Step, error: BaseException) -> AgentFailed:
    if isinstance(error, AgentFailed):
        return error
    if isinstance(error, _TimedOut):
        return AgentFailed("timeout", f"step {step.name!r}: {error}")
    return AgentFailed("step_error", f"step {step.name!r}: {type(error).__name__}: {error}")
