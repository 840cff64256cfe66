"""The record of one run, in memory, with its fences; and an owner's statements against it, which fail when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from holdfast.errors import LostOwnership, StoreUnavailable
from holdfast.runs import EventId, Lease, Outcome
from holdfast.store import Claimed, Database, Finished, JournalStep, KeptText, RunRow, WaitRow, owner
from holdfast.store.rows import Journaled

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunRow(
    UUID(int=1), "default", "thread", "agent", "default", "running", 0, "pod", UUID(int=9), 0, 5, "resume", {}, None,
    None, {}, _NOW, _NOW, _NOW, None, None, None, None,
)  # fmt: skip
_STATEMENTS = ("journal", "intend", "checkpoint", "open_wait", "suspend", "finish", "release")


@dataclass
class FakeRecord:
    """``away`` makes every statement fail; ``lose_answers`` statements are carried out and fail."""

    run: RunRow = RUN
    steps: dict[str, JournalStep] = field(default_factory=dict)
    waits: dict[UUID, WaitRow] = field(default_factory=dict)
    kept: dict[int, KeptText] = field(default_factory=dict)
    rest: str = ""
    away: bool = False
    lose_answers: int = 0
    ended_why: str | None = None
    given_up: dict[int, str] = field(default_factory=dict)

    def install(self, monkeypatch: Any) -> None:
        """In place of the store."""
        for name in _STATEMENTS:
            monkeypatch.setattr(owner, name, getattr(self, name))
        monkeypatch.setattr("holdfast_runner.journal._REPEAT_INTERVAL_S", 0.0)

    @property
    def answer(self) -> str:
        """The text of the answer: what finished steps and suspensions have shown, in that order, and the rest."""
        kept: list[JournalStep | KeptText] = [
            *(step for step in self.steps.values() if step.finished),
            *self.kept.values(),
        ]
        kept.sort(key=lambda each: EventId.parse(each.finish_id or "0-0"))
        return "".join(each.shown_text for each in kept) + self.rest

    def claim(self) -> Claimed:
        """A next attempt."""
        self.run = replace(self.run, status="running", attempt=self.run.attempt + 1)
        return Claimed(self.run, "pod" if self.ended_why else None, self.ended_why, ())

    def reclaim(self) -> None:
        """Its owner is dead, unless the run has ended or waits."""
        if self.run.status == "running":
            self.run = replace(self.run, status="queued")
            self.ended_why = "owner_lost"

    def wake(self) -> None:
        """Whatever the run waits for has come: the oldest wait's answer is its own position."""
        waiting = [each for each in self.waits.values() if each.suspended and each.done_at is None]
        if self.run.status != "waiting" or not waiting:
            return
        self.waits[waiting[0].id] = replace(waiting[0], done_at=_NOW)
        step = self.steps[waiting[0].position]
        self.steps[step.position] = replace(
            step,
            status="completed",
            output=step.position,
            attempt=self.run.attempt,
            told=False,
            finished_at=_NOW,
        )
        self.run = replace(self.run, status="queued")
        self.ended_why = "answered"

    async def _statement(self, lease: Lease) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        if self.run.status != "running" or self.run.attempt != lease.attempt:
            raise LostOwnership("fenced")

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreUnavailable("the answer was lost")

    async def journal(self, db: Database, run_id: UUID) -> Journaled:
        """See ``owner.journal``."""
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        steps = sorted(self.steps.values(), key=lambda step: [int(part) for part in step.position.split(".")])
        return Journaled(steps, list(self.kept.values()), list(self.waits.values()))

    async def intend(
        self,
        db: Database,
        lease: Lease,
        *,
        position: str,
        kind: str,
        name: str,
        input_hash: bytes,
        tries: int,
        call_id: str | None,
        input: Any,
        code_version: str,
        timeout_s: float | None,
        recorded: Sequence[Any],
        failure: Mapping[str, Any] | None,
    ) -> None:
        """See ``owner.intend``."""
        await self._statement(lease)
        found = self.steps.get(position)
        if found is not None and found.finished:
            raise LostOwnership("the step is finished")
        before = found.recorded if found is not None else []
        failures = found.errors if found is not None else []
        self.steps[position] = JournalStep(
            position, kind, name, input_hash, "started", tries, lease.attempt, None, None, "", None, _NOW, None,
            call_id, input, code_version, timeout_s, [*failures, *([failure] if failure else [])], [*before, *recorded],
        )  # fmt: skip
        await self._answer()

    async def checkpoint(
        self,
        db: Database,
        lease: Lease,
        *,
        position: str,
        output: Any,
        error: Mapping[str, str] | None,
        shown_text: str,
        finish_id: str,
        last_event_id: str | None,
        emits: Any,
        recorded: Sequence[Any],
        failure: Mapping[str, Any] | None,
    ) -> None:
        """See ``owner.checkpoint``."""
        await self._statement(lease)
        status = "completed" if error is None else "failed"
        self.steps[position] = replace(
            self.steps[position],
            status=status,
            output=output,
            error=error,
            shown_text=shown_text,
            finish_id=finish_id,
            last_event_id=last_event_id,
            emits=emits,
            recorded=[*self.steps[position].recorded, *recorded],
            finished_at=_NOW,
        )
        await self._answer()

    async def open_wait(
        self,
        db: Database,
        lease: Lease,
        *,
        wait_id: UUID,
        position: str,
        kind: str,
        name: str,
        input_hash: bytes,
        code_version: str,
        question: Any,
        schema: Any,
        seconds: float | None,
        child: Any,
        recorded: Sequence[Any],
        failure: Mapping[str, Any] | None = None,
    ) -> WaitRow:
        """See ``owner.open_wait``."""
        await self._statement(lease)
        if position not in self.steps:
            self.steps[position] = JournalStep(
                position, kind, name, input_hash, "started", 1, lease.attempt, None, None, "", None, _NOW, None,
                code_version=code_version,
            )  # fmt: skip
        step = self.steps[position]
        if failure is not None and wait_id not in self.waits:
            self.steps[position] = replace(step, errors=[*step.errors, failure])
        wait = self.waits.get(wait_id) or WaitRow(
            wait_id,
            lease.run_id,
            position,
            kind,
            question,
            schema,
            None,
            child.run_id if child is not None else None,
            _NOW,
            False,
            None,
            None,
        )
        self.waits[wait_id] = replace(wait, recorded=[*wait.recorded, *recorded])
        await self._answer()
        return self.waits[wait_id]

    async def suspend(
        self,
        db: Database,
        lease: Lease,
        *,
        waits: Sequence[tuple[UUID, str, str | None]],
        next_event_id: str,
        shown_text: str,
        finish_id: str | None,
        last_event_id: str | None,
        emits: Any,
        recorded: Sequence[Any],
    ) -> Finished:
        """See ``owner.suspend``."""
        if self.given_up.get(lease.attempt) != "waiting":
            await self._statement(lease)
            for wait_id, finish, last in waits:
                wait = self.waits[wait_id] = replace(
                    self.waits[wait_id], suspended=True, recorded=[*self.waits[wait_id].recorded, *recorded]
                )
                if wait.done_at is None:
                    self.steps[wait.position] = replace(self.steps[wait.position], finish_id=finish, last_event_id=last)
            self.kept[lease.attempt] = KeptText(lease.attempt, shown_text, finish_id, last_event_id, emits)
            self.run = replace(self.run, status="waiting")
            self.ended_why = self.given_up[lease.attempt] = "waiting"
        await self._answer()
        return Finished("waiting", None, None, None, None)

    async def finish(
        self,
        db: Database,
        lease: Lease,
        *,
        outcome: Outcome,
        output: Any = None,
        error: Mapping[str, str] | None = None,
        terminal_event_id: str,
        shown_text: str,
    ) -> Finished:
        """See ``owner.finish``."""
        if self.run.terminal_event_id != terminal_event_id:
            await self._statement(lease)
            self.run = replace(
                self.run, status=outcome.value, output=output, error=error, terminal_event_id=terminal_event_id
            )
            self.rest = shown_text
        await self._answer()
        return Finished(self.run.status, self.run.output, self.run.error, None, None)

    async def release(self, db: Database, lease: Lease, *, next_event_id: str, shown_text: str) -> Finished:
        """See ``owner.release``."""
        if self.given_up.get(lease.attempt) != "released":
            await self._statement(lease)
            self.run = replace(self.run, status="queued")
            self.ended_why = self.given_up[lease.attempt] = "released"
        await self._answer()
        return Finished("queued", None, None, self.run.id, "default")
