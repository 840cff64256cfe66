"""Whatever happens to log, record and owners: who reads a run's log to its end shows what the record holds.

Real attempts of a run over a log and a record in memory. At any moment the log or the record may go away, come back or lose an
answer, the log may lose all it has, the owner may die (its last append landing late) or be told to hand the run over.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.runs import TERMINAL, EventId, Fold, Lease, Owner
from holdfast.settings import RunnerSettings
from holdfast.store import Database
from holdfast.wire import events
from holdfast_agent import Agent, AgentFailed, Retry, Run
from holdfast_runner.execution import Execution, Links, Stop
from holdfast_runner.work_threads import WorkThreads
from tests.support.samples import examples
from tests.unit.runner.fake_log import FakeLog
from tests.unit.runner.fake_record import FakeRecord

HAPPENINGS = (
    "nothing", "log away", "log back", "log loses an answer", "log loses all",
    "record away", "record back", "record loses an answer", "owner dies", "owner drains", "answer",
)  # fmt: skip
SETTINGS = RunnerSettings(append_budget_s=1e-6)

Stage = tuple[int, int, int, int, bool]
stages: st.SearchStrategy[list[Stage]] = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2), st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=4,
)
"""Of each stage: how much is said before its step, how much within each try, how many tries fail, how many such go side by side,
and whether a person is asked afterwards (by each of them)."""
happenings = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(HAPPENINGS)), max_size=25)
"""How many turns of the event loop pass, and what happens then."""


class Play:
    """One run by a script, in a world that something happens to."""

    def __init__(self, script: list[Stage]) -> None:
        self.script = script
        self.log = FakeLog()
        self.record = FakeRecord()
        self.execution: Execution | None = None
        self.attempt: asyncio.Task[Any] | None = None

    async def agent(self, run: Run) -> str:
        """Says, and does steps that fail as often as the script says (in each attempt)."""
        for stage, (_, _, _, width, _) in enumerate(self.script):
            lines = [self._line(run, f"{stage}/{n}", *self.script[stage]) for n in range(width)]
            if width == 1:
                await lines[0]
            else:
                await run.gather(*lines)
        run.emit_text("end")
        return "done"

    async def _line(
        self, run: Run, name: str, said_before: int, said_within: int, failures: int, _: int, asked: bool
    ) -> None:
        for n in range(said_before):
            run.emit_text(f"{name}.{n}.{run.random()} ")
            await asyncio.sleep(0)
        work = self._tries(run, name, said_within, failures)
        await run.model("step", [name, run.random()], work, retry=Retry(99, 0.0, 0.0))
        if asked:
            run.emit_text(f"{name}? ")
            answer = await run.ask(f"{name}?")
            run.emit_text(f"{name}!{answer} ")

    def _tries(self, run: Run, name: str, said_within: int, failures: int) -> Any:
        left = [failures]

        async def work() -> str:
            for n in range(said_within):
                run.emit_text(f"{name}:{n} ")
                await asyncio.sleep(0)
            left[0] -= 1
            if left[0] >= 0:
                raise AgentFailed("again", "as told", retryable=True)
            return name

        return work

    async def happen(self, what: str) -> None:
        """Something happens."""
        match what.split():
            case ["log", "away" | "back" as state]:
                self.log.away = state == "away"
            case ["record", "away" | "back" as state]:
                self.record.away = state == "away"
            case ["log", "loses", "an", "answer"]:
                self.log.lose_answers = 1
            case ["record", "loses", "an", "answer"]:
                self.record.lose_answers = 1
            case ["log", "loses", "all"]:
                self.log.vanish()
            case ["answer"]:
                self.record.wake()
            case ["owner", "drains"] if self.execution is not None:
                self.execution.stop(Stop.RELEASE)
            case ["owner", "dies"] if self.attempt is not None and not self.attempt.done():
                await self._die(self.attempt)
            case _:
                pass

    async def _die(self, attempt: asyncio.Task[Any]) -> None:
        attempt.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attempt
        self.record.reclaim()
        number, end = self.record.run.attempt, self.log.messages[-1][0] if self.log.messages else None

        def last_word() -> None:
            if end is not None and self.log.messages and self.log.messages[-1][0] == end:
                late = EventId(number, (end.last_id or EventId(0, 0)).n + 1)
                self.log.write(late, None, events.frame(late, "text.delta", {"position": None, "text": "late"}))

        if end is not None and end.last_id is not None and end.last_id.attempt == number:
            self.log.before_append.append(last_word)

    async def world(self, happening: list[tuple[int, str]]) -> None:
        """All that happens; then all is well."""
        for turns, what in happening:
            for _ in range(turns):
                await asyncio.sleep(0)
            await self.happen(what)
        self.log.away = self.record.away = False
        self.log.lose_answers = self.record.lose_answers = 0

    async def play(self, happening: list[tuple[int, str]]) -> None:
        """The run, from its first attempt to its end."""
        world = asyncio.create_task(self.world(happening))
        agent = Agent("agent", self.agent, "1")
        links = Links(cast(Database, None), self.log.client, WorkThreads(threads_max=1), SETTINGS, no_child)
        while self.record.run.status not in TERMINAL:
            if self.record.run.status == "waiting":
                await asyncio.sleep(0)
                if world.done():
                    self.record.wake()
                continue
            claimed = self.record.claim()
            lease = Lease(claimed.run.id, Owner("pod", uuid4()), claimed.run.attempt)
            self.execution = Execution(links, claimed, lease, agent)
            self.attempt = asyncio.create_task(self.execution.run())
            await asyncio.wait({self.attempt})
            await asyncio.sleep(0)  # whoever let it die says so in the record
            if not self.attempt.cancelled():
                self.attempt.result()
            assert self.record.run.status != "running"
        await world


async def no_child(run_id: UUID, pool: str) -> None:
    """No script has children."""


def golden(script: list[Stage]) -> list[str]:
    """The words that there are to read, whoever dies, sorted: what was said before each step, and within its last try."""
    said = ["end"]
    for stage, (before, within, _, width, asked) in enumerate(script):
        for name in (f"{stage}/{n}" for n in range(width)):
            said += [f"{name}.{n}" for n in range(before)] + [f"{name}:{n}" for n in range(within)]
            said += [f"{name}?", f"{name}!"] if asked else []
    return sorted(said)


def said_by(answer: str) -> list[str]:
    """The words of an answer, without what is random in them."""
    return [re.sub(r"(\.\d+)\.0\.\d+(e-\d+)?$|(?<=!).*", r"\1", word) for word in answer.split()]


def check(play: Play, *, log_is_whole: bool) -> None:
    """A viewer of the log, who makes a terminal event that is missing right behind it, shows what the record holds."""
    row, fold = play.record.run, Fold()
    assert row.output == "done"
    assert sorted(said_by(play.record.answer)) == golden(play.script)
    for stage, (_, _, _, width, _) in enumerate(play.script):
        for name in (f"{stage}/{n}" for n in range(width)):
            line = [word for word in said_by(play.record.answer) if word.startswith(name)]
            assert line == sorted(line, key=lambda word: ".:?!".index(word[len(name)])), "each line in its order"
    for event in play.log.events:
        assert fold.apply(event.id, event.type, event.data), "ids grow"
    end_id = EventId.parse(cast(str, row.terminal_event_id))
    if fold.ending is None:
        if fold.last_id is None or fold.last_id.next() != end_id:
            assert not log_is_whole
            return  # a gap: a gateway shows the record instead
        fold.apply(end_id, f"run.{row.status}", {})
    assert fold.ending is not None
    assert (fold.ending.id, fold.ending.type) == (end_id, "run.completed")
    assert fold.text == play.record.answer


async def _play(script: list[Stage], happening: list[tuple[int, str]]) -> None:
    play = Play(script)
    with pytest.MonkeyPatch.context() as patched:
        play.log.install(patched)
        play.record.install(patched)
        patched.setattr("holdfast_runner.execution._AFTER_STEP_S", 0.0)
        patched.setattr("holdfast_runner.waiting._SETTLE_S", 0.0)
        async with asyncio.timeout(20):
            await play.play(happening)
    check(play, log_is_whole=not any(what.startswith("log") for _, what in happening))


@given(stages, happenings)
@settings(max_examples=examples(300), deadline=None)
def test_whatever_happens_log_and_record_say_the_same(script: list[Stage], happening: list[tuple[int, str]]) -> None:
    asyncio.run(_play(script, happening))
