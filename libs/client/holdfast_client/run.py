"""One run, as a caller holds it: its events, its transcript, its result, and what may be done about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Literal, overload
from urllib.parse import quote
from uuid import UUID

from holdfast.runs import EventId
from holdfast.wire.events import Event
from holdfast_client.answers import model_of
from holdfast_client.errors import Refused, RunCancelled, RunFailed, RunInterrupted, RunWaiting
from holdfast_client.following import Following, cursor_of
from holdfast_client.gateway import Gateway
from holdfast_client.lists import page_of
from holdfast_client.models import Attempt, Page, RunState, Step, Wait
from holdfast_client.patience import OnLink, Patience
from holdfast_client.transcript import Transcribing, Transcript

_SETTLING_PAUSE_S, _SETTLING_PAUSE_MAX_S = 0.05, 1.0  # a question is seen a moment before the record has it
_SHOWS_WAITS = frozenset({"run.waiting", "snapshot"})


class Run:
    """A handle on a run; making one asks nobody. ``Holdfast.submit`` and ``Holdfast.run`` give one.

    Attributes:
        id: the run's.
        state: as it was last seen, by a submit, a ``refresh`` or a command; None: not yet.
    """

    def __init__(
        self,
        gateway: Gateway,
        run_id: str | UUID,
        *,
        patience_s: float,
        stream_patience_s: float,
        polling: bool = False,
        state: RunState | None = None,
    ) -> None:
        self.id = str(run_id)
        self.state = state
        self._gateway = gateway
        self._path = f"/v1/runs/{quote(self.id, safe='')}"
        self._patience_s = patience_s
        self._stream_patience_s = stream_patience_s
        self._polling = polling

    def __repr__(self) -> str:
        status = f", {self.state.status}" if self.state is not None else ""
        return f"<Run {self.id}{status}>"

    async def refresh(self) -> RunState:
        """The run as the record holds it now."""
        return self._seen(await self._gateway.send("GET", self._path, patience_s=self._patience_s))

    async def events(
        self, after: EventId | str | None = None, *, on_link: OnLink | None = None
    ) -> AsyncGenerator[Event, None]:
        """Every event after ``after`` (None: from the first one), once and in order, to the end of the run's stream.

        Connects again where a connection broke. The stream of a run that waits stays open for as long as that takes; that of an
        interrupted run ends. Apply events by the folding rule (``holdfast.runs.Fold``, or use :meth:`transcript`): duplicates are
        left out already, and a ``snapshot`` replaces everything. One with the id ``0-0`` is empty: the record does not know what
        was shown, since it was restored from a backup, and all that it knows follows.

        Args:
            after: the last event that you have: its id, or the text of it, as ``"1-17"``.
            on_link: is told why the gateway stays away, once for an absence, and None when it is back.

        Raises:
            Unreachable: the gateway stayed away for longer than ``stream_patience_s``.
            Refused: no such run, no key, or a cursor that no event of this run can have been.
        """
        patience = Patience(self._stream_patience_s, on_link)
        following = Following(self._gateway, self.id, after=cursor_of(after), patience=patience, polling=self._polling)
        async with aclosing(following.events()) as events:
            async for event in events:
                yield event

    @overload
    def transcript(self, *, live: Literal[False] = False) -> Coroutine[Any, Any, Transcript]: ...

    @overload
    def transcript(self, *, live: Literal[True]) -> AsyncGenerator[Transcript, None]: ...

    def transcript(self, *, live: bool = False) -> Coroutine[Any, Any, Transcript] | AsyncGenerator[Transcript, None]:
        """``await run.transcript()``: what the run has said, when its stream has ended.

        ``async for transcript in run.transcript(live=True)``: the same as it grows, after each event. Text may be taken back:
        when a runner is lost in the middle of a step, what the step had shown goes, and is said anew.
        """
        return self._transcripts() if live else self._whole_transcript()

    async def _transcripts(self) -> AsyncGenerator[Transcript, None]:
        transcribing = Transcribing()
        async with aclosing(self.events()) as events:
            async for event in events:
                if transcribing.take(event):
                    yield transcribing.transcript

    async def _whole_transcript(self) -> Transcript:
        transcribing = Transcribing()
        async with aclosing(self.events()) as events:
            async for event in events:
                transcribing.take(event)
        return transcribing.transcript

    async def result(self, timeout_s: float | None = None, *, raise_on_waiting: bool = False) -> Any:
        """The run's output, when it has ended.

        Args:
            timeout_s: how long to wait for it; the run goes on whatever happens to this call.
            raise_on_waiting: do not wait while the run waits for a person.

        Raises:
            TimeoutError: ``timeout_s`` is over.
            RunFailed: with its code and message.
            RunCancelled: it was.
            RunInterrupted: it stands still until somebody resumes it.
            RunWaiting: it asks something, and ``raise_on_waiting`` is set.
        """
        async with asyncio.timeout(timeout_s):
            state = await self._until_stopped(raise_on_waiting=raise_on_waiting)
        match state.status:
            case "completed":
                return state.output
            case "cancelled":
                raise RunCancelled(self.id, "was cancelled", _error(state))
            case "interrupted":
                raise RunInterrupted(self.id, "is interrupted", _error(state))
        raise RunFailed(self.id, "has failed", _error(state))

    async def _until_stopped(self, *, raise_on_waiting: bool) -> RunState:
        """The record decides: a run that was interrupted when its stream ended may go on by now."""
        cursor: EventId | None = None
        while not (state := await self.refresh()).stopped:
            if raise_on_waiting and state.questions:
                raise RunWaiting(self.id, state.questions)
            async with aclosing(self.events(cursor)) as events:
                async for event in events:
                    cursor = event.id
                    if raise_on_waiting and event.type in _SHOWS_WAITS and (asked := await self._asked(event)):
                        raise RunWaiting(self.id, asked)
        return state

    async def _asked(self, event: Event) -> tuple[Wait, ...]:
        """What the run asks now. The event may be old, and the question answered; or the record is about to have it."""
        pause_s = _SETTLING_PAUSE_S
        while True:
            state = await self.refresh()
            about_to = event.type == "run.waiting" and state.status == "running" and state.attempt == event.id.attempt
            if not about_to:
                return state.questions
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _SETTLING_PAUSE_MAX_S)

    async def cancel(self) -> RunState:
        """Cancel the run. One that a runner works on is still ``running`` in the answer: its owner ends it a moment later. One
        that was cancelled before is cancelled.

        Raises:
            Refused: ``run_ended``: it is completed, or has failed.
        """
        try:
            return await self._command("cancel", repeatable=True)
        except Refused as refused:
            if refused.code == "run_ended" and (state := await self.refresh()).status == "cancelled":
                return state
            raise

    async def answer(self, question_id: str, answer: Any) -> RunState:
        """Answer a question, once: the first answer holds. What is taken is said by the question's schema.

        Raises:
            Refused: ``already_answered``, ``invalid_answer``, ``question_not_found``, …
            Unreachable: the answer to this got lost, and it may have been taken (``reached``).
        """
        return await self._command("answer", {"question_id": question_id, "answer": answer})

    async def resume(self) -> RunState:
        """Have an interrupted run go on from its last finished step.

        Raises:
            Refused: ``not_interrupted``.
            Unreachable: the answer to this got lost, and it may have been done (``reached``).
        """
        return await self._command("resume")

    async def fork(self, *, from_position: str | None = None, thread: str | None = None) -> Run:
        """Make a new run from this one, which has ended or is interrupted, with its finished steps.

        Args:
            from_position: the first step to do anew; None: go on after the last finished one.
            thread: another conversation, made if it is not there; None: the same.

        Raises:
            Refused: ``run_active``, ``unknown_position``, …
            Unreachable: the answer to this got lost, and a run may have been made (``reached``).
        """
        wanted = {"from_position": from_position, "thread_id": thread}
        body = {name: value for name, value in wanted.items() if value is not None}
        shown = await self._gateway.send(
            "POST", f"{self._path}/fork", json=body, patience_s=self._patience_s, repeatable=False
        )
        state = model_of(RunState, shown, self._gateway.url)
        return Run(
            self._gateway,
            state.id,
            patience_s=self._patience_s,
            stream_patience_s=self._stream_patience_s,
            polling=self._polling,
            state=state,
        )

    async def steps(self, *, limit: int = 50, cursor: str | None = None) -> Page[Step]:
        """The run's journal, in order."""
        return await page_of(
            self._gateway, f"{self._path}/steps", Step, {"limit": limit, "cursor": cursor}, self._patience_s
        )

    async def attempts(self) -> Page[Attempt]:
        """Every runner's hold on the run, in order. All of them on one page."""
        return await page_of(self._gateway, f"{self._path}/attempts", Attempt, {}, self._patience_s)

    async def _command(self, name: str, body: Mapping[str, Any] | None = None, *, repeatable: bool = False) -> RunState:
        path = f"{self._path}/{name}"
        return self._seen(
            await self._gateway.send("POST", path, json=body, patience_s=self._patience_s, repeatable=repeatable)
        )

    def _seen(self, shown: Any) -> RunState:
        self.state = model_of(RunState, shown, self._gateway.url)
        return self.state


def _error(state: RunState) -> Mapping[str, Any] | None:
    return state.error.as_json() if state.error is not None else None
