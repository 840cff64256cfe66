"""The record of one run, in memory, with its fences; and an owner's statements against it, which fail when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from holdfast.errors import LostOwnership, StoreUnavailable
from holdfast.runs import Lease, Outcome
from holdfast.store import Claimed, Database, Finished, JournalStep, RunRow, owner

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunRow(
    UUID(int=1), "default", "thread", "agent", "default", "running", 0, "pod", UUID(int=9), 0, 5, "resume", {}, None,
    None, {}, _NOW, _NOW, _NOW, None, None, None, None,
)  # fmt: skip


@dataclass
class FakeRecord:
    """``away`` makes every statement fail; ``lose_answers`` statements are carried out and fail."""

    run: RunRow = RUN
    steps: dict[str, JournalStep] = field(default_factory=dict)
    answer: str = ""
    away: bool = False
    lose_answers: int = 0
    ended_why: str | None = None
    released: int | None = None

    def install(self, monkeypatch: Any) -> None:
        """In place of the store."""
        for name in ("journal", "intend", "checkpoint", "finish", "release"):
            monkeypatch.setattr(owner, name, getattr(self, name))
        monkeypatch.setattr("holdfast_runner.journal._REPEAT_INTERVAL_S", 0.0)

    def claim(self) -> Claimed:
        """A next attempt."""
        self.run = replace(self.run, status="running", attempt=self.run.attempt + 1)
        return Claimed(self.run, "pod" if self.ended_why else None, self.ended_why, ())

    def reclaim(self) -> None:
        """Its owner is dead, unless the run has ended."""
        if self.run.status == "running":
            self.run = replace(self.run, status="queued")
            self.ended_why = "owner_lost"

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

    async def journal(self, db: Database, run_id: UUID) -> list[JournalStep]:
        """See ``owner.journal``."""
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        return sorted(self.steps.values(), key=lambda step: int(step.position))

    async def intend(
        self, db: Database, lease: Lease, *, position: str, kind: str, name: str, input_hash: bytes, tries: int
    ) -> None:
        """See ``owner.intend``."""
        await self._statement(lease)
        found = self.steps.get(position)
        if found is not None and found.status != "started":
            raise LostOwnership("the step is finished")
        self.steps[position] = JournalStep(
            position, kind, name, input_hash, "started", tries, lease.attempt, None, None, "", None, _NOW, None
        )
        await self._answer()

    async def checkpoint(
        self,
        db: Database,
        lease: Lease,
        *,
        position: str,
        output: Any = None,
        error: Mapping[str, str] | None = None,
        shown_text: str,
        last_event_id: str | None,
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
            last_event_id=last_event_id,
            finished_at=_NOW,
        )
        await self._answer()

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
            self.answer = shown_text
        await self._answer()
        return Finished(self.run.status, self.run.output, self.run.error, None, None)

    async def release(self, db: Database, lease: Lease, *, next_event_id: str, shown_text: str) -> Finished:
        """See ``owner.release``."""
        if self.released != lease.attempt:
            await self._statement(lease)
            self.run = replace(self.run, status="queued")
            self.ended_why, self.released = "released", lease.attempt
        await self._answer()
        return Finished("queued", None, None, self.run.id, "default")
