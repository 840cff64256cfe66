"""Several owners, reapers and clients do what they like to a few runs of two threads; Postgres must do as the pure table does.

Single commands are compared one by one. Commands sent at once must come out as in one of their orders; which one is chance, so
no rule has a precondition: Hypothesis wants an example to draw the same things whenever it is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import permutations
from typing import Any, TypeVar
from uuid import UUID, uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from holdfast.runs import TERMINAL, Lease, OnOwnerLost, Outcome, Owner, RunState, Status
from holdfast.store import Database
from tests.integration.store import pictures
from tests.integration.store.record import Record
from tests.integration.store.world import (
    OWNERS,
    AnyCommand,
    Ask,
    Cancel,
    Checkpoint,
    Claim,
    Expire,
    Finish,
    ForceCancel,
    GiveAnswer,
    Intend,
    Reclaim,
    Release,
    Resume,
    Run,
    Suspend,
    World,
)
from tests.support.samples import examples

_RUNS_MAX = 10
_POSITIONS = st.sampled_from(["0", "1.0"])
_WHICH = st.integers(0, _RUNS_MAX - 1)
_WHO = st.sampled_from(OWNERS)
_POLICIES = st.sampled_from([OnOwnerLost.RESUME, *OnOwnerLost])
T = TypeVar("T")


def _commands(leases: list[Lease]) -> st.SearchStrategy[AnyCommand]:
    """Any command but a resume, on one of these leases or its run.

    A resume and the claim of a later run, sent at once, may both go through though the resumed run was to come first: it stays
    queued and comes next. That is neither of their orders, and does no harm.
    """
    lease = st.sampled_from(leases)
    return st.one_of(
        st.builds(Claim, lease.map(lambda each: each.run_id), _WHO),
        st.builds(Intend, lease, _POSITIONS, st.integers(1, 2)),
        lease.flatmap(
            lambda each: st.builds(Checkpoint, st.just(each), _POSITIONS, st.just(f"{each.attempt}-9"), st.booleans())
        ),
        st.builds(Finish, lease, st.sampled_from(Outcome)),
        st.builds(Release, lease),
        st.builds(Ask, lease),
        st.builds(Suspend, lease),
        st.builds(GiveAnswer, lease.map(lambda each: each.run_id)),
        lease.flatmap(
            lambda each: st.builds(
                Expire, st.just(each.run_id), st.just(each.attempt), st.sampled_from([each.owner, None])
            )
        ),
        st.builds(Reclaim, lease.map(lambda each: (each,))),
        st.builds(Cancel, lease.map(lambda each: each.run_id)),
        st.builds(ForceCancel, lease),
    )


class RecordMachine(RuleBasedStateMachine):
    """One example: its threads are its own, its database is everybody's."""

    def __init__(self, runner: asyncio.Runner, record: Record) -> None:
        super().__init__()
        self._runner = runner
        self._record = record
        self._threads = [f"{name}-{uuid4()}" for name in ("one", "two")]
        self._ids: list[UUID] = []
        self._world: World = {}
        self._columns: dict[UUID, Any] = {}

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _id(self, which: int) -> UUID:
        return self._ids[which % len(self._ids)]

    def _running(self) -> list[Lease]:
        """The leases that the record knows."""
        states = ((run_id, run.state) for run_id, run in self._world.items())
        return [Lease(run_id, state.owner, state.attempt) for run_id, state in states if state.owner is not None]

    def _true(self, which: int) -> Lease:
        """The lease of a running run. If none runs, one is claimed; if none can be, a new one is."""
        if not self._running() and not self._claim_one(OWNERS[which % len(OWNERS)]):
            self._submit(f"extra-{uuid4()}", OnOwnerLost.RESUME, 3)
            self._claim_one(OWNERS[which % len(OWNERS)])
        return self._running()[which % len(self._running())]

    def _claim_one(self, who: Owner) -> bool:
        """Claim the first run that can be had."""
        for run_id in self._ids:
            if Claim(run_id, who).apply(self._world)[1] is not None:
                self._send(Claim(run_id, who))
                return True
        return False

    def _believed(self, which: int, who: Owner, off: int) -> Lease:
        """Somebody's lease of any run, of an attempt before, now or to come. It may be true."""
        run_id = self._id(which)
        return Lease(run_id, who, max(0, self._world[run_id].state.attempt + off))

    def _send(self, command: AnyCommand) -> None:
        self._world, expected = command.apply(self._world)
        assert self._do(command.send(self._record)) == expected, command

    def _submit(self, thread: str, policy: OnOwnerLost, max_crashes: int) -> None:
        run_id = self._do(self._record.submit(thread, policy=policy, max_crashes=max_crashes, deadline_s=0.0))
        self._ids.append(run_id)
        state = RunState(on_owner_lost=policy, max_crashes=max_crashes)
        self._world = {**self._world, run_id: Run(thread, len(self._ids), state)}

    @initialize()
    def begin(self) -> None:
        self._submit(self._threads[0], OnOwnerLost.RESUME, 3)
        self._submit(self._threads[0], OnOwnerLost.INTERRUPT, 3)

    @rule(thread=st.integers(0, 1), policy=_POLICIES, max_crashes=st.integers(1, 4))
    def submit(self, thread: int, policy: OnOwnerLost, max_crashes: int) -> None:
        if len(self._ids) < _RUNS_MAX:
            self._submit(self._threads[thread], policy, max_crashes)

    @rule(which=_WHICH, who=_WHO)
    def claim(self, which: int, who: Owner) -> None:
        self._send(Claim(self._id(which), who))

    @rule(who=_WHO)
    def claim_what_is_free(self, who: Owner) -> None:
        self._claim_one(who)

    @rule(which=_WHICH, position=_POSITIONS, tries=st.integers(1, 2))
    def intend(self, which: int, position: str, tries: int) -> None:
        self._send(Intend(self._true(which), position, tries))

    @rule(which=_WHICH, position=_POSITIONS, n=st.integers(8, 9), fails=st.booleans())
    def checkpoint(self, which: int, position: str, n: int, fails: bool) -> None:
        lease = self._true(which)
        self._send(Checkpoint(lease, position, f"{lease.attempt}-{n}", fails))

    @rule(which=_WHICH, position=_POSITIONS)
    def do_a_step(self, which: int, position: str) -> None:
        lease = self._true(which)
        self._send(Intend(lease, position, 1))
        self._send(Checkpoint(lease, position, f"{lease.attempt}-9", False))

    @rule(which=_WHICH, outcome=st.sampled_from(Outcome))
    def finish(self, which: int, outcome: Outcome) -> None:
        self._send(Finish(self._true(which), outcome))

    @rule(which=_WHICH)
    def release(self, which: int) -> None:
        self._send(Release(self._true(which)))

    @rule(which=_WHICH, asked=st.booleans())
    def suspend(self, which: int, asked: bool) -> None:
        lease = self._true(which)
        if asked:
            self._send(Ask(lease))
        self._send(Suspend(lease))

    @rule(which=_WHICH)
    def answer(self, which: int) -> None:
        self._send(GiveAnswer(self._id(which)))

    @rule(which=_WHICH, who=_WHO)
    def wait_and_be_answered(self, which: int, who: Owner) -> None:
        lease = self._true(which)
        for command in (Ask(lease), Suspend(lease), GiveAnswer(lease.run_id), Claim(lease.run_id, who)):
            self._send(command)

    @rule(which=_WHICH)
    def resume(self, which: int) -> None:
        self._send(Resume(self._id(which)))

    @rule(which=_WHICH)
    def interrupt_and_resume(self, which: int) -> None:
        lease = self._true(which)
        self._send(Finish(lease, Outcome.INTERRUPTED))
        self._send(Resume(lease.run_id))

    @rule(which=_WHICH, rightly=st.booleans())
    def expire(self, which: int, rightly: bool) -> None:
        run_id = self._id(which)
        state = self._world[run_id].state
        self._send(Expire(run_id, state.attempt, state.owner if rightly else None))

    @rule(which=_WHICH)
    def reclaim(self, which: int) -> None:
        self._send(Reclaim((self._true(which),)))

    @rule(which=_WHICH, who=_WHO)
    def die_and_be_followed(self, which: int, who: Owner) -> None:
        lease = self._true(which)
        self._send(Reclaim((lease,)))
        self._send(Claim(lease.run_id, who))

    @rule(who=_WHO)
    def reclaim_all_of(self, who: Owner) -> None:
        self._send(Reclaim(tuple(Lease(run_id, who, run.state.attempt) for run_id, run in self._world.items())))

    @rule(which=_WHICH, then_force=st.booleans())
    def cancel_what_runs(self, which: int, then_force: bool) -> None:
        lease = self._true(which)
        self._send(Cancel(lease.run_id))
        if then_force:
            self._send(ForceCancel(lease))

    @rule(which=_WHICH)
    def cancel(self, which: int) -> None:
        self._send(Cancel(self._id(which)))

    @rule(which=_WHICH, who=_WHO, off=st.integers(-1, 1), data=st.data())
    def believe_wrongly(self, which: int, who: Owner, off: int, data: st.DataObject) -> None:
        self._send(data.draw(_commands([self._believed(which, who, off)])))

    @rule(which=_WHICH, who=_WHO, data=st.data())
    def at_once(self, which: int, who: Owner, data: st.DataObject) -> None:
        """Two or three commands at once, on one run or its neighbour: they must come out as in one of their orders."""
        leases = [self._true(which), self._true(which), self._true(which + 1), self._believed(which, who, 0)]
        commands = data.draw(st.lists(_commands(leases), min_size=2, max_size=3))

        async def race() -> tuple[list[object], pictures.Picture]:
            answers = await asyncio.gather(*(command.send(self._record) for command in commands))
            return list(answers), (await pictures.of_record(self._record, self._world))[0]

        answers, seen = self._do(race())
        for order in permutations(range(len(commands))):
            world, expected = self._world, dict[int, object]()
            for n in order:
                world, expected[n] = commands[n].apply(world)
            if [expected[n] for n in range(len(commands))] == answers and pictures.of_model(world) == seen:
                self._world = world
                return
        raise AssertionError(f"no order of {commands} answers {answers} and leaves {seen}; before: {self._world}")

    @invariant()
    def the_record_is_as_the_model_says(self) -> None:
        seen, columns = self._do(pictures.of_record(self._record, self._world))
        assert seen == pictures.of_model(self._world)
        for run_id, before in self._columns.items():
            assert columns[run_id]["attempt"] >= before["attempt"]
            if Status(before["status"]) in TERMINAL:
                assert columns[run_id] == before, "terminal is final, to the last column"
        for thread in self._threads:
            busy = [
                row
                for row in columns.values()
                if row["thread_id"] == thread and row["status"] in ("running", "waiting")
            ]
            assert len(busy) <= 1
        self._columns = columns


def test_the_record_does_what_the_pure_table_says(url: str) -> None:
    with asyncio.Runner() as runner:
        db = Database(url, pool_size=4, timeout_s=10.0)

        class Machine(RecordMachine):
            def __init__(self) -> None:
                super().__init__(runner, Record(db))

        try:
            run_state_machine_as_test(Machine, settings=settings(max_examples=examples(50), stateful_step_count=40))
        finally:
            runner.run(db.close())
