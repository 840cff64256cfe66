"""The run as its agent sees it: what was asked, what was said before, how to show things, how to do durable work.

An agent is replayed from its top on each attempt. What it does inside a step is journalled and not done again once finished; what
it does outside must give the same each time: no clock, no randomness, no I/O, but those that the run itself offers.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from holdfast.errors import AgentFailed
from holdfast_agent.approval import APPROVAL_SCHEMA, Approval, approval_question
from holdfast_agent.backend import Backend, OnUnknown, Said, StepSpec
from holdfast_agent.codec import comparable, from_record, to_plain, to_record
from holdfast_agent.failures import ChildFailedError
from holdfast_agent.result_type import ResultType
from holdfast_agent.retry import ONCE, Retry

T = TypeVar("T")
_MODEL_RETRY = Retry(on=())


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a run, in the hands of its agent.

    ``input`` is what the client sent; ``attempt`` counts from 1 and grows with every takeover.
    """

    id: uuid.UUID
    thread_id: str
    agent: str
    attempt: int
    input: Any
    metadata: Mapping[str, Any]
    backend: Backend

    # -- showing -----------------------------------------------------------------------------------------------------

    def emit_text(self, text: str) -> None:
        """Show a piece of the answer's text."""
        if text:
            self.backend.emit("text.delta", {"text": text})

    def emit_reasoning(self, text: str) -> None:
        """Show a piece of the model's reasoning. It is not part of the transcript."""
        if text:
            self.backend.emit("reasoning.delta", {"text": text})

    def emit_usage(self, *, input_tokens: int, output_tokens: int) -> None:
        """Say what a model call used."""
        self.backend.emit("usage", {"input_tokens": input_tokens, "output_tokens": output_tokens})

    def emit(self, name: str, data: Any) -> None:
        """Show something of your own, as a ``custom`` event. ``data`` is any JSON value."""
        self.backend.emit("custom", {"name": name, "data": data})

    # -- durable work ------------------------------------------------------------------------------------------------

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[T]],
        /,
        *args: Any,
        idempotent: bool = ...,
        on_unknown: OnUnknown | str | None = ...,
        retry: Retry | None = ...,
        timeout_s: float | None = ...,
        call_id: str | None = ...,
    ) -> T: ...

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., T],
        /,
        *args: Any,
        idempotent: bool = ...,
        on_unknown: OnUnknown | str | None = ...,
        retry: Retry | None = ...,
        timeout_s: float | None = ...,
        call_id: str | None = ...,
    ) -> T: ...

    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        idempotent: bool = False,
        on_unknown: OnUnknown | str | None = None,
        retry: Retry | None = None,
        timeout_s: float | None = None,
        call_id: str | None = None,
    ) -> Any:
        """Do one durable piece of work: ``fn(*args)``, journalled before it starts and when its result is known.

            charge = await run.step("charge", charge_card, order.id, 1999, retry=Retry(tries=5, on=(Timeout,)))

        Args:
            name: what the step is called in the journal.
            fn: the work. A plain function runs in a thread.
            args: its arguments: a replay compares them with the journal's.
            idempotent: doing it twice is the same as doing it once; then an outcome that nobody knows is simply tried again,
                with the same ``run.idempotency_key``.
            on_unknown: ``retry``, ``fail`` or ``ask``, for when nobody knows whether it was done. Left out: as the run, the agent
                or the kind of step says (``ask`` for work that is not idempotent).
            retry: which failures are tried again. Left out: none.
            timeout_s: for one try. Work that takes longer may or may not be done: its outcome is unknown.
            call_id: the id of the tool call that this answers. Steps with one may run side by side.

        Returns:
            What ``fn`` returned, now or in an earlier attempt: JSON values, pydantic models, dataclasses, bytes, datetimes and
            UUIDs come back as what they were, tuples as lists.

        Raises:
            AgentFailed: it failed for good; ``code`` says how. The same again at each replay (so it is never of a subclass).
        """
        request = comparable(to_record(list(args), what=f"the arguments of step {name!r}"))
        spec = StepSpec(
            kind="tool",
            name=name,
            request=request,
            input=_shown(args, request),
            call_id=call_id,
            idempotent=idempotent,
            on_unknown=OnUnknown(on_unknown) if on_unknown is not None else None,
            retry=retry or ONCE,
            timeout_s=timeout_s,
            result_schema=(returned := ResultType.of(fn)).schema,
        )

        async def work() -> Any:
            return to_record(await _called(fn, args), what=f"the result of step {name!r}")

        return returned.fit(await self._done(spec, work))

    async def model(
        self,
        name: str,
        request: Any,
        call: Callable[[], Awaitable[Any]],
        *,
        retry: Retry | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Call a model as one durable step.

        Args:
            name: what the step is called in the journal.
            request: what the model is asked (JSON, or what else a step may take): a replay compares its hash with the journal's.
            call: asks the model; may emit text while it streams. When it returns a plain object, its ``tool_calls``
                (``[{id, name, input}]``) go into the thread's transcript. It runs again after a crash or a retryable
                failure, and viewers drop what the earlier try had shown.
            retry: how often a retryable failure is tried again; three tries with a back-off when left out.
            timeout_s: for one try.

        Returns:
            What ``call`` returned, now or in an earlier attempt, as of :meth:`step`.

        Raises:
            AgentFailed: the call failed for good; ``code`` says how.
        """
        asked = comparable(to_record(request, what=f"the request of step {name!r}"))
        spec = StepSpec("model", name, asked, idempotent=True, retry=retry or _MODEL_RETRY, timeout_s=timeout_s)

        async def work() -> Any:
            return to_record(await call(), what=f"the result of step {name!r}")

        return await self._done(spec, work)

    async def _done(self, spec: StepSpec, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            record = await self.backend.step(spec, work)
        except AgentFailed as failed:  # of this class at a replay, whichever it was: an agent must not tell them apart
            raise AgentFailed(failed.code, failed.message) from failed
        return from_record(record, what=f"the result of step {spec.name!r}")

    async def gather(self, *branches: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
        """Run branches side by side, and wait for all of them. Each has positions of its own in the journal.

            weather, news = await run.gather(run.step("weather", weather_of, city), run.step("news", news_of, city))

        Returns:
            Their results, in order; with ``return_exceptions`` also their exceptions.

        Raises:
            Exception: of the first branch, in their order, that raised one; all have ended by then.
        """
        results = await self.backend.gather(branches)
        if not return_exceptions:
            for each in results:
                if isinstance(each, BaseException):
                    raise each
        return results

    @property
    def idempotency_key(self) -> str:
        """Inside a step: ``<run id>/<position>``, the same at every try and attempt. Hand it to whatever the step calls.

        Raises:
            RuntimeError: outside any step.
        """
        here = self.backend.here
        if here is None:
            raise RuntimeError("run.idempotency_key is a step's: use it inside the function that run.step calls")
        return f"{self.id}/{here.position}"

    @property
    def tries(self) -> int:
        """Inside a step: which try this is, from 1. Above 1 an earlier one may have happened, in whole or in part. 0 outside."""
        here = self.backend.here
        return here.tries if here is not None else 0

    # -- waiting -----------------------------------------------------------------------------------------------------

    @overload
    async def ask(self, question: str | Mapping[str, Any], *, schema: type[T]) -> T: ...

    @overload
    async def ask(self, question: str | Mapping[str, Any], *, schema: Mapping[str, Any] | None = None) -> Any: ...

    async def ask(self, question: str | Mapping[str, Any], *, schema: Any = None) -> Any:
        """Ask a person. The run waits, without a slot, for as long as it takes, and goes on with the answer by replay.

            size = await run.ask("Which size?", schema={"enum": ["S", "M", "L"]})

        Args:
            question: a text, or an object with a ``text`` and whatever a front end needs to show it.
            schema: of the answer: a JSON schema, or a type (a pydantic model, a dataclass, ``int``). An answer that does not
                fit is refused where it is given.

        Returns:
            The answer; of that type when ``schema`` is one.
        """
        adapter = TypeAdapter(schema) if schema is not None and not isinstance(schema, Mapping) else None
        wanted = adapter.json_schema() if adapter is not None else schema
        shown = {"type": "question", **({"text": question} if isinstance(question, str) else question)}
        answer = await self.backend.ask("ask", shown, wanted)
        if adapter is None:
            return answer
        try:
            return adapter.validate_json(to_json(answer))
        except ValidationError as error:
            raise AgentFailed("invalid_answer", f"the answer does not fit {schema!r}: {error}") from error

    async def approve(
        self, tool: str, arguments: Mapping[str, Any], *, call_id: str | None = None, text: str | None = None
    ) -> Approval:
        """Ask a person whether a tool may be called: approve, deny with a reason, or approve with other arguments."""
        answer = await self.backend.ask(
            "approval", approval_question(tool, arguments, call_id=call_id, text=text), APPROVAL_SCHEMA
        )
        return Approval.of(answer, arguments)

    async def sleep(self, seconds: float) -> None:
        """Wait without a slot: a month costs a row.

        Raises:
            ValueError: ``seconds`` is negative or no number.
        """
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"cannot sleep for {seconds!r} seconds")
        await self.backend.sleep(seconds)

    async def call(self, agent: str, run_input: Any, *, metadata: Mapping[str, Any] | None = None) -> Any:
        """Run another agent as a child run: a run of its own, cancelled with this one. This one waits without a slot.

        ``run_input`` is sent as plain JSON: the child sees a pydantic model or a dataclass as an object.

        Returns:
            The child's output, as JSON.

        Raises:
            ChildFailedError: the child failed or was cancelled.
            AgentFailed: ``not_json``, ``unknown_agent``, ``invalid_input``.
        """
        end = await self.backend.call(agent, to_plain(run_input, what=f"the input of child {agent!r}"), metadata or {})
        if end.status == "completed":
            return end.output
        why = f": {end.error['message']}" if end.error else ""
        raise ChildFailedError(
            f"child run {end.run_id} of {agent!r} {end.status}{why}", run_id=end.run_id, status=end.status
        )

    # -- the same at each replay -------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time (UTC), recorded."""
        return datetime.fromisoformat(self.backend.record(lambda: datetime.now(UTC).isoformat()))

    def uuid(self) -> uuid.UUID:
        """A random UUID, recorded."""
        return uuid.UUID(self.backend.record(lambda: str(uuid.uuid4())))

    def random(self) -> float:
        """A random number in [0, 1), recorded."""
        return float(self.backend.record(random.random))

    # -- reading -----------------------------------------------------------------------------------------------------

    async def history(self, *, limit: int = 200) -> Sequence[Said]:
        """The newest ``limit`` messages that other runs left on the thread, oldest first."""
        return await self.backend.history(limit)


def _shown(args: Sequence[Any], record: Any) -> Any:
    """A step's arguments for people: plain JSON, without the types, where there is such."""
    try:
        return to_plain(list(args), what="it")
    except AgentFailed:
        return record


async def _called(fn: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Call it: a coroutine function here, any other in a thread."""
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):
        return await fn(*args)
    result = await asyncio.to_thread(fn, *args)
    return await result if inspect.isawaitable(result) else result
