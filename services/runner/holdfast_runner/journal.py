"""A run's journal in the hands of one attempt: positions, replay, intents and checkpoints.

It writes through the record's fenced statements and repeats a write whose outcome is not known, until it is known.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from holdfast.errors import AgentFailed, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import EventId, Lease
from holdfast.store import Database, JournalStep, owner

log = get_logger(__name__)
T = TypeVar("T")
_REPEAT_INTERVAL_S = 0.2


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
    """What tells a step from any other: its place, and what is asked there. ``input_hash`` is of the request as JSON."""

    position: str
    kind: str
    name: str
    input_hash: bytes


class Journal:
    """The steps of one run, as this attempt found them and goes on with them."""

    def __init__(self, db: Database, lease: Lease, recorded: Sequence[JournalStep]) -> None:
        self._db = db
        self._lease = lease
        self._recorded = {step.position: step for step in recorded}
        self._unreplayed = {step.position for step in recorded if step.status != "started"}
        self._finished = [step for step in recorded if step.status != "started"]
        self._diverged: AgentFailed | None = None
        self._next = 0

    @property
    def replaying(self) -> bool:
        """Is a finished step still to be replayed? Then what the agent shows has been shown, and is kept."""
        return bool(self._unreplayed)

    @property
    def finished(self) -> Sequence[JournalStep]:
        """The steps that were finished before this attempt."""
        return self._finished

    def keep_through(self) -> EventId | None:
        """The newest event of a finished step. None: there is none."""
        ids = [EventId.parse(step.last_event_id) for step in self._finished if step.last_event_id is not None]
        return max(ids, default=None)

    def take_position(self) -> str:
        """The place of the next step."""
        position, self._next = str(self._next), self._next + 1
        return position

    def replay(self, step: Step) -> JournalStep | None:
        """What the journal holds at a step's place: None, a started step (its outcome is not known) or a finished one.

        Raises:
            AgentFailed: ``diverged``: the journal holds another step there, or did at an earlier place.
        """
        self.refuse_diverged()
        found = self._recorded.get(step.position)
        if found is None:
            return None
        if (found.kind, found.name, found.input_hash) != (step.kind, step.name, step.input_hash):
            self._diverged = AgentFailed(
                "diverged",
                f"step {step.position}: the journal has {found.kind} {found.name!r} ({found.input_hash.hex()[:8]}), "
                f"the agent now asks for {step.kind} {step.name!r} ({step.input_hash.hex()[:8]})",
            )
            raise self._diverged
        self._unreplayed.discard(step.position)
        return found

    def refuse_diverged(self) -> None:
        """An agent that has left its journal cannot go on, whatever it makes of the error.

        Raises:
            AgentFailed: ``diverged``.
        """
        if self._diverged is not None:
            raise self._diverged

    def refuse_unreplayed(self) -> None:
        """The agent is done: every finished step must have been asked for again.

        Raises:
            AgentFailed: ``diverged``.
        """
        if self._unreplayed:
            first = next(step.position for step in self._finished if step.position in self._unreplayed)
            raise AgentFailed("diverged", f"the agent ended without step {first}, which the journal has finished")

    async def intend(self, step: Step, tries: int) -> None:
        """Say that the work of a try is about to start.

        Raises:
            LostOwnership: somebody else has the run.
        """
        await until_known(
            lambda: owner.intend(
                self._db,
                self._lease,
                position=step.position,
                kind=step.kind,
                name=step.name,
                input_hash=step.input_hash,
                tries=tries,
            )
        )

    async def checkpoint(
        self,
        position: str,
        *,
        output: Any = None,
        error: Mapping[str, str] | None = None,
        shown_text: str,
        last_event_id: str | None,
    ) -> None:
        """Say how a step ended.

        Raises:
            LostOwnership: somebody else has the run.
        """
        await until_known(
            lambda: owner.checkpoint(
                self._db,
                self._lease,
                position=position,
                output=output,
                error=error,
                shown_text=shown_text,
                last_event_id=last_event_id,
            )
        )


def hash_of(request: bytes) -> bytes:
    """What tells one step's input from another's."""
    return hashlib.sha256(request).digest()
