"""Every state times every command, held against the table."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.runs import (
    ACTIVE,
    TABLE,
    TERMINAL,
    Command,
    OnOwnerLost,
    Outcome,
    Owner,
    Refusal,
    RunState,
    Status,
    transition,
)

# one pod with two boots, and another pod
OWNERS = tuple(Owner(pod, UUID(int=boot)) for pod, boot in (("a", 1), ("a", 2), ("b", 3)))
FENCED = {Command.CHECKPOINT, Command.SUSPEND, Command.RELEASE, Command.FINISH, Command.RECLAIM, Command.FORCE_CANCEL}
OF_THE_OWNER = {Command.CHECKPOINT, Command.SUSPEND, Command.RELEASE, Command.FINISH}
CELLS = list(product(Command, Status))


def _state(status: Status, *, attempt: int, owner: Owner, cancel_requested: bool, **policy: object) -> RunState:
    run = RunState(status, attempt, owner if status is Status.RUNNING else None, cancel_requested=cancel_requested)
    return replace(run, **policy)  # type: ignore[arg-type] # the policies' types differ


@st.composite
def states(draw: st.DrawFn, statuses: st.SearchStrategy[Status] = st.sampled_from(Status)) -> RunState:  # noqa: B008
    """Any run that the table can bring about, and some that it cannot."""
    max_crashes = draw(st.integers(1, 5))
    return _state(
        draw(statuses),
        attempt=draw(st.integers(1, 1000)),
        owner=draw(st.sampled_from(OWNERS)),
        cancel_requested=draw(st.booleans()),
        crashes=draw(st.integers(0, max_crashes - 1)),
        max_crashes=max_crashes,
        on_owner_lost=draw(st.sampled_from(OnOwnerLost)),
    )


def _rightly(
    run: RunState, command: Command, outcome: Outcome = Outcome.COMPLETED, *, over: bool = False
) -> RunState | Refusal:
    """The command from the one who may give it."""
    owner = OWNERS[0] if command is Command.CLAIM else run.owner
    return transition(run, command, owner=owner, attempt=run.attempt, outcome=outcome, over=over)


def _is_fenced(command: Command, status: Status) -> bool:
    return command in FENCED or (command is Command.EXPIRE and status is Status.RUNNING)


@pytest.mark.parametrize(("command", "status"), CELLS)
def test_a_cell_leads_exactly_where_the_table_says(command: Command, status: Status) -> None:
    after = set()
    for cancel, policy, max_crashes, outcome, over in product(
        (False, True), OnOwnerLost, (1, 2), Outcome, (False, True)
    ):
        run = _state(
            status,
            attempt=3,
            owner=OWNERS[0],
            cancel_requested=cancel,
            on_owner_lost=policy,
            max_crashes=max_crashes,
        )
        result = _rightly(run, command, outcome, over=over)
        after |= {result.status} if isinstance(result, RunState) else set()
    assert after == set(TABLE.get((command, status), frozenset()))


@pytest.mark.parametrize(("command", "status"), [cell for cell in CELLS if cell not in TABLE])
def test_what_the_table_does_not_list_is_refused_by_name(command: Command, status: Status) -> None:
    run = _state(status, attempt=3, owner=OWNERS[0], cancel_requested=False)
    expected = Refusal.TERMINAL if status in TERMINAL else Refusal.WRONG_STATUS
    assert _rightly(run, command) is (Refusal.LOST if command in FENCED else expected)


def test_terminal_is_final_and_every_other_status_can_be_left() -> None:
    assert {status for _, status in TABLE} == ACTIVE
    reached = set().union(*TABLE.values())
    assert reached == set(Status)


@given(states(), st.sampled_from(Command), st.sampled_from(OWNERS), st.integers(0, 1001), st.sampled_from(Outcome))
def test_a_fenced_command_of_anybody_else_is_lost(
    run: RunState, command: Command, owner: Owner, attempt: int, outcome: Outcome
) -> None:
    result = transition(run, command, owner=owner, attempt=attempt, outcome=outcome)
    if _is_fenced(command, run.status) and (owner, attempt) != (run.owner, run.attempt):
        assert result is Refusal.LOST


@given(states(st.just(Status.RUNNING)), st.sampled_from(sorted(FENCED)))
def test_a_fence_has_no_blanks(run: RunState, command: Command) -> None:
    assert transition(run, command, outcome=Outcome.FAILED) is Refusal.LOST
    assert transition(run, command, owner=run.owner, outcome=Outcome.FAILED) is Refusal.LOST
    assert transition(run, command, attempt=run.attempt, outcome=Outcome.FAILED) is Refusal.LOST


@given(states(), st.sampled_from(Command), st.sampled_from(Outcome))
def test_who_makes_an_event_without_owning_the_run_takes_an_attempt_for_it(
    run: RunState, command: Command, outcome: Outcome
) -> None:
    after = _rightly(run, command, outcome)
    if isinstance(after, Refusal):
        return
    ends = after.status in TERMINAL | {Status.INTERRUPTED}
    grown = command is Command.CLAIM or (ends and command not in OF_THE_OWNER)
    assert after.attempt == run.attempt + grown


@given(
    states(st.just(Status.RUNNING)),
    st.sampled_from([Command.SUSPEND, Command.RELEASE, Command.FINISH, Command.RECLAIM, Command.EXPIRE]),
    st.sampled_from(Outcome),
    st.booleans(),
)
def test_a_cancel_wins_over_whatever_leaves_running(
    run: RunState, command: Command, outcome: Outcome, over: bool
) -> None:
    after = _rightly(replace(run, cancel_requested=True), command, outcome, over=over)
    assert isinstance(after, RunState)
    assert after.status is Status.CANCELLED


@given(states(st.just(Status.RUNNING)))
def test_force_cancel_wants_a_cancel_first(run: RunState) -> None:
    assert _rightly(replace(run, cancel_requested=False), Command.FORCE_CANCEL) is Refusal.NOT_REQUESTED


@given(states(st.just(Status.RUNNING)))
def test_what_is_over_when_a_run_wants_to_wait_for_it_queues_the_run_and_counts_as_progress(run: RunState) -> None:
    run = replace(run, cancel_requested=False)
    waiting = _rightly(run, Command.SUSPEND)
    assert isinstance(waiting, RunState)
    assert (waiting.status, waiting.crashes) == (Status.WAITING, run.crashes)
    assert _rightly(run, Command.SUSPEND, over=True) == _rightly(waiting, Command.WAKE)


@given(st.integers(1, 8), st.lists(st.booleans(), max_size=40))
def test_the_crash_budget_counts_and_progress_resets_it(
    max_crashes: int, progress_before_each_crash: list[bool]
) -> None:
    run, since_progress = RunState(max_crashes=max_crashes), 0
    for progress in progress_before_each_crash:
        claimed = _rightly(run, Command.CLAIM)
        assert isinstance(claimed, RunState)
        if progress:
            moved = _rightly(claimed, Command.CHECKPOINT)
            assert isinstance(moved, RunState)
            claimed, since_progress = moved, 0
        reclaimed = _rightly(claimed, Command.RECLAIM)
        since_progress += 1
        assert isinstance(reclaimed, RunState)
        assert reclaimed.status is (Status.FAILED if since_progress == max_crashes else Status.QUEUED)
        if reclaimed.status is Status.FAILED:
            return
        run = reclaimed


_SENT = st.tuples(
    st.sampled_from(Command), st.sampled_from(OWNERS), st.integers(0, 6), st.booleans(), st.sampled_from(Outcome)
)


@given(states(st.just(Status.QUEUED)), st.lists(_SENT, max_size=60))
def test_whatever_is_sent_by_whomever(born: RunState, sent: list[tuple[Command, Owner, int, bool, Outcome]]) -> None:
    run = replace(born, attempt=0, cancel_requested=False)
    for command, owner, attempt, truly, outcome in sent:
        named = (run.owner or owner, run.attempt) if truly else (owner, attempt)
        after = transition(run, command, owner=named[0], attempt=named[1], outcome=outcome)
        if isinstance(after, Refusal):
            continue
        assert run.status not in TERMINAL
        assert after.status in TABLE[command, run.status]
        assert after.attempt >= run.attempt
        assert (after.owner is not None) == (after.status is Status.RUNNING)
        assert (after.max_crashes, after.on_owner_lost) == (run.max_crashes, run.on_owner_lost)
        run = after
