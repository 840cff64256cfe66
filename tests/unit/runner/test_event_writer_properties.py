"""Whatever NATS does to a run's log, a viewer who reads it to its end shows what the owner has shown.

An owner by a script: it emits text within steps and outside, retries, checkpoints. Between any two of its moves the log may go
away, come back, lose an answer, or lose all it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.runs import Fold, Lease, Owner
from holdfast_runner.event_writer import EventWriter
from holdfast_runner.transcript import Transcript
from tests.unit.runner.fake_log import FakeLog

OWNER_MOVES = ("say", "begin", "retry", "finish", "yield")
LOG_MOVES = ("away", "back", "lose_answer", "vanish")
moves = st.lists(st.sampled_from(OWNER_MOVES * 3 + LOG_MOVES), max_size=40)


class ScriptedOwner:
    """It keeps its transcript as a run's backend does."""

    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.transcript = Transcript()
        self.finished: list[Mapping[str, Any]] = []
        self.position: str | None = None
        self.told_partial = False
        self.said = 0
        self.writer = EventWriter(
            log.client,
            Lease(UUID(int=1), Owner("pod", uuid4()), 1),
            budget_s=0.0,
            buffer_bytes_max=1024 * 1024,
            snapshot=self.snapshot,
            on_lost=pytest.fail,
        )

    def snapshot(self) -> Mapping[str, Any]:
        self.told_partial = self.told_partial or bool(self.transcript.open_text)
        return {"steps": list(self.finished), "partial_text": self.transcript.open_text}

    async def do(self, move: str) -> None:
        match move:
            case "say":
                self.said += 1
                self.writer.emit("text.delta", {"position": self.position, "text": f"{self.said} "})
                self.transcript.show(self.position, f"{self.said} ")
            case "begin" if self.position is None:
                self.position = str(len(self.finished))
                self.begin()
            case "retry" if self.position is not None:
                self.begin()
            case "finish" if self.position is not None:
                self.writer.emit("step.completed", {"position": self.position, "output": None})
                last_id = await self.writer.flush()
                text = self.transcript.finish(self.position)
                self.finished.append(
                    {"position": self.position, "text": text, "last_event_id": str(last_id) if last_id else None}
                )
                self.position, self.told_partial = None, False
            case "yield":
                for _ in range(5):
                    await asyncio.sleep(0)
            case "away":
                self.log.away = True
            case "back":
                self.log.away = False
            case "lose_answer":
                self.log.lose_answers = 1
            case "vanish":
                self.log.vanish()
            case _:
                pass

    def begin(self) -> None:
        assert self.position is not None
        if self.transcript.begin(self.position) and self.told_partial:
            self.told_partial = False
            self.writer.emit_snapshot()
        self.writer.emit("step.started", {"position": self.position})


def fold(log: FakeLog) -> Fold:
    """What a viewer of the log shows."""
    folded = Fold()
    for event in log.events:
        assert folded.apply(event.id, event.type, event.data), "ids grow"
    return folded


async def _play(script: list[str]) -> None:
    log = FakeLog()
    with pytest.MonkeyPatch.context() as patched:
        log.install(patched)
        owner = ScriptedOwner(log)
        await owner.writer.open()
        for move in script:
            await owner.do(move)
        log.away, log.lose_answers = False, 0
        owner.writer.emit("custom", {"position": None, "data": "the last one before the end"})
        await owner.writer.flush()
        end_id = owner.writer.seal()
        await owner.writer.tell_end("run.completed", {})
        await owner.writer.close()
        shown = fold(log)
        assert shown.ending is not None
        assert shown.ending.id == end_id
        assert shown.text == owner.transcript.text


@given(moves)
@settings(max_examples=300, deadline=None)
def test_f34_whatever_happens_to_the_log_it_folds_to_what_was_shown(script: list[str]) -> None:
    asyncio.run(_play(script))
