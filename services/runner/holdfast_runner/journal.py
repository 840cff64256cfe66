"""A run's journal in the hands of one attempt: replay, divergence, intents, checkpoints, waits.

It writes through the record's fenced statements and repeats a write whose outcome is not known, until it is known.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

from pydantic_core import from_json

from holdfast.errors import AgentFailed, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId, Lease
from holdfast.store import Database, JournalStep, KeptText, WaitRow, owner
from holdfast.store.rows import Journaled
from holdfast_runner.recorded_values import RecordedValues

log = get_logger(__name__)
T = TypeVar("T")
_REPEAT_INTERVAL_S = 0.2
_INPUT_CHARS_MAX = 300


async def until_known(write: Callable[[], Awaitable[T]]) -> T:
    """Repeat a write while the record does not answer. The write must find its own earlier effect again."""
    tries = 0
    while True:
        try:
            return await write()
        except StoreUnavailable as error:
            tries += 1
            say = log.warning if tries == 1 else log.debug
            say("store.unavailable", error=str(error), tries=tries)
            await asyncio.sleep(_REPEAT_INTERVAL_S)


@dataclass(frozen=True, slots=True)
class Step:
    """What tells a step from any other: its place, and what is asked there. ``input_hash`` is of the request as JSON.

    ``nested``: it is done within the work of another step.
    """

    position: str
    kind: str
    name: str
    input_hash: bytes
    call_id: str | None = None
    input: Any = None
    timeout_s: float | None = None
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the journal holds at a place. ``status`` is started, retry, completed or failed."""

    kind: str
    name: str
    input_hash: bytes
    status: str
    tries: int
    code_version: str
    call_id: str | None
    output: Any
    error: Mapping[str, str] | None
    input: Any = None

    @property
    def finished(self) -> bool:
        """Is its outcome known?"""
        return self.status in ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Divergence:
    """How the agent has left its journal. ``code_version`` is of the code that wrote the step there."""

    message: str
    code_version: str


class Journal:
    """The steps of one run, as this attempt found them and goes on with them.

    Args:
        db: the record.
        lease: whose run.
        found: what the record has.
        code_version: of the agent's code here.
        on_diverged: called once, when the agent is found to have left its journal.
    """

    def __init__(
        self,
        db: Database,
        lease: Lease,
        found: Journaled,
        *,
        code_version: str,
        on_diverged: Callable[[], None] = lambda: None,
    ) -> None:
        self._db = db
        self._lease = lease
        self._code_version = code_version
        self._on_diverged = on_diverged
        self.found = found
        self.values = RecordedValues(
            [entry for step in found.steps for entry in step.recorded]
            + [entry for wait in found.waits for entry in wait.recorded]
        )
        self._waits = {wait.id: wait for wait in found.waits}
        self._known = {step.position: _known(step) for step in found.steps}
        self._unreplayed = {step.position for step in found.steps if step.finished}
        self._within: dict[str, list[str]] = {}
        for position in self._unreplayed:
            for outer in _around(position):
                self._within.setdefault(outer, []).append(position)
        self._keys: dict[str, dict[str, str]] = {}
        for position, known in self._known.items():
            self._note_key(position, known.call_id)
        self._diverged: Divergence | None = None

    # -- what there is -----------------------------------------------------------------------------------------------

    @property
    def kept(self) -> Sequence[JournalStep | KeptText]:
        """What earlier attempts have committed to, finished steps and suspensions, in the order in which it counts."""
        kept: list[JournalStep | KeptText] = [*(step for step in self.found.steps if step.finished), *self.found.kept]
        return sorted(kept, key=lambda each: EventId.parse(each.finish_id or "0-1"))

    def keep_through(self) -> EventId | None:
        """The newest event that is kept. None: there is none."""
        ids = [EventId.parse(each.last_event_id) for each in self.kept if each.last_event_id is not None]
        return max(ids, default=None)

    def untold(self) -> Sequence[JournalStep]:
        """Steps that were finished while nobody owned the run, and which viewers may not have been told of.

        An owner that came after has told them first of all: once anything that it finished is kept, so is that.
        """
        newest = max((EventId.parse(each.finish_id).attempt for each in self.kept if each.finish_id), default=0)
        return [
            each for each in self.kept if isinstance(each, JournalStep) and not each.told and newest <= each.attempt
        ]

    def keys_under(self, group: str) -> Mapping[str, str]:
        """The keyed steps of a group: position by call id."""
        return self._keys.get(group, {})

    # -- replay ------------------------------------------------------------------------------------------------------

    def replay(self, step: Step) -> Known | None:
        """What the journal holds at a step's place: None, a step of unknown outcome, or a finished one.

        Raises:
            AgentFailed: ``diverged``: the journal holds another step there, or did at an earlier place.
        """
        self.refuse_diverged()
        known = self._known.get(step.position)
        if known is None:
            return None
        if (known.kind, known.name, known.input_hash) != (step.kind, step.name, step.input_hash):
            self._diverge(
                f"step {step.position}: the journal has {_said(known)}, the agent now asks for {_said(step)}",
                known.code_version,
            )
        if known.finished:
            self._settle(step.position)
        return known

    def _settle(self, position: str) -> None:
        """A step is finished: it is not worked on again, and nobody asks for what was done within it."""
        self._unreplayed.discard(position)
        self._unreplayed.difference_update(self._within.get(position, ()))

    def _diverge(self, message: str, code_version: str) -> None:
        self._diverged = Divergence(message, code_version)
        self._on_diverged()
        self.refuse_diverged()

    def refuse_diverged(self) -> None:
        """An agent that has left its journal cannot go on, whatever it makes of the error.

        Raises:
            AgentFailed: ``diverged``.
        """
        if self._diverged is not None:
            raise AgentFailed("diverged", self._diverged.message)

    @property
    def diverged_by_other_code(self) -> bool:
        """Has the agent left its journal, and was that written by other code than this?"""
        return self._diverged is not None and self._diverged.code_version != self._code_version

    def refuse_unreplayed(self) -> None:
        """The agent is done: every finished step must have been asked for again.

        Raises:
            AgentFailed: ``diverged``.
        """
        for step in self.found.steps:
            if step.position in self._unreplayed:
                self._diverge(
                    f"step {step.position}: the journal has {step.kind} {step.name!r} finished, "
                    "the agent now ended without it",
                    step.code_version,
                )

    def wait(self, wait_id: UUID) -> WaitRow | None:
        """A wait that an earlier attempt opened."""
        return self._waits.get(wait_id)

    # -- writing -----------------------------------------------------------------------------------------------------

    async def intend(self, step: Step, tries: int, failure: Mapping[str, Any] | None) -> None:
        """Say that the work of a try is about to start; ``failure`` is how the try before ended.

        Raises:
            LostOwnership: somebody else has the run.
        """
        recorded = self.values.unwritten()
        await until_known(
            lambda: owner.intend(
                self._db,
                self._lease,
                position=step.position,
                kind=step.kind,
                name=step.name,
                input_hash=step.input_hash,
                tries=tries,
                call_id=step.call_id,
                input=step.input,
                code_version=self._code_version,
                timeout_s=step.timeout_s,
                recorded=recorded,
                failure=failure,
            )
        )
        self.values.wrote(recorded)
        self._known[step.position] = Known(
            step.kind, step.name, step.input_hash, "started", tries, self._code_version, step.call_id, None, None
        )
        self._note_key(step.position, step.call_id)

    async def checkpoint(
        self,
        position: str,
        *,
        output: Any,
        error: Mapping[str, str] | None,
        shown_text: str,
        finish_id: str,
        last_event_id: str | None,
        emits: Mapping[str, int] | None,
        failure: Mapping[str, Any] | None,
    ) -> None:
        """Say how a step ended.

        Raises:
            LostOwnership: somebody else has the run.
        """
        recorded = self.values.unwritten()
        await until_known(
            lambda: owner.checkpoint(
                self._db,
                self._lease,
                position=position,
                output=output,
                error=error,
                shown_text=shown_text,
                finish_id=finish_id,
                last_event_id=last_event_id,
                emits=emits,
                recorded=recorded,
                failure=failure,
            )
        )
        self.values.wrote(recorded)
        self._settle(position)
        status = "completed" if error is None else "failed"
        self._known[position] = replace(self._known[position], status=status, output=output, error=error)

    async def open_wait(
        self,
        wait_id: UUID,
        step: Step,
        *,
        kind: str,
        question: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        child: owner.Child | None = None,
        failure: Mapping[str, Any] | None = None,
    ) -> WaitRow:
        """Say that a step waits for what others have to do. One that was opened before is found again.

        Raises:
            LostOwnership: somebody else has the run.
        """
        recorded = self.values.unwritten()
        opened = await until_known(
            lambda: owner.open_wait(
                self._db,
                self._lease,
                wait_id=wait_id,
                position=step.position,
                kind=kind,
                name=step.name,
                input_hash=step.input_hash,
                code_version=self._code_version,
                question=question,
                schema=schema,
                seconds=seconds,
                child=child,
                recorded=recorded,
                failure=failure,
            )
        )
        self.values.wrote(recorded)
        return opened

    def _note_key(self, position: str, call_id: str | None) -> None:
        if call_id is not None:
            self._keys.setdefault(position.rpartition(".")[0], {})[call_id] = position


def _said(step: Step | Known) -> str:
    """A step in words: what it is, its hash, and its input as far as it is short."""
    shown = json.dumps(step.input, ensure_ascii=False) if step.input is not None else ""
    clipped = shown if len(shown) <= _INPUT_CHARS_MAX else shown[: _INPUT_CHARS_MAX - 1] + "…"
    return f"{step.kind} {step.name!r} ({step.input_hash.hex()[:8]}{': ' + clipped if clipped else ''})"


def _around(position: str) -> Iterator[str]:
    """The steps within whose work a position may be (see ``positions``)."""
    place = position.find(".0.")
    while place >= 0:
        yield position[:place]
        place = position.find(".0.", place + 1)


def _known(step: JournalStep) -> Known:
    return Known(
        step.kind,
        step.name,
        step.input_hash,
        step.status,
        step.tries,
        step.code_version,
        step.call_id,
        step.output,
        step.error,
        step.input,
    )


def hash_of(request: bytes) -> bytes:
    """What tells one step's input (JSON) from another's. The order of keys does not: the record gives them back in its own."""
    return hashlib.sha256(json.dumps(from_json(request), sort_keys=True, separators=(",", ":")).encode()).digest()
