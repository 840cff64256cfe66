"""Replay: what a journal gives back, and how it notices that its agent has left it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast
from uuid import UUID

import pytest

from holdfast.errors import AgentFailed, StoreUnavailable
from holdfast.runs import EventId, Lease, Owner
from holdfast.store import Database, JournalStep
from holdfast_runner import journal as journal_module
from holdfast_runner.journal import Journal, Step, hash_of, until_known

LEASE = Lease(UUID(int=1), Owner("pod", UUID(int=2)), 2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(position: str, status: str, *, last: str | None = None, name: str = "chat") -> JournalStep:
    """A step, as the record has it."""
    return JournalStep(
        position, "model", name, hash_of(b"asked"), status, 1, 1, "out", None, "text", last, NOW, NOW
    )  # fmt: skip


def journal(*steps: JournalStep) -> Journal:
    """A journal that writes nothing."""
    return Journal(cast(Database, None), LEASE, steps)


def asked(position: str, *, name: str = "chat", request: bytes = b"asked") -> Step:
    """What an agent asks for."""
    return Step(position, "model", name, hash_of(request))


def test_a_finished_step_is_given_back_and_ends_the_replay() -> None:
    found = journal(recorded("0", "completed"), recorded("1", "failed"))
    replaying = [found.replaying]
    for position in ("0", "1", "2"):
        given_back = found.replay(asked(position))
        replaying.append(found.replaying)
        assert (given_back and given_back.position) == (position if position != "2" else None)
    assert replaying == [True, True, False, False]


def test_a_started_step_is_no_replay() -> None:
    found = journal(recorded("0", "started"))
    assert not found.replaying
    assert found.replay(asked("0")) == recorded("0", "started")
    assert found.finished == []


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (asked("0", name="other"), "the journal has model 'chat'"),
        (asked("0", request=b"else"), hash_of(b"else").hex()[:8]),
        (Step("0", "tool", "chat", hash_of(b"asked")), "asks for tool 'chat'"),
    ],
)
def test_f52_another_step_at_a_place_is_divergence_and_names_both(step: Step, expected: str) -> None:
    with pytest.raises(AgentFailed, match="step 0: ") as diverged:
        journal(recorded("0", "completed")).replay(step)
    assert diverged.value.code == "diverged"
    assert expected in diverged.value.message


def test_f52_there_is_no_way_on_after_divergence() -> None:
    found = journal(recorded("0", "completed"))
    with pytest.raises(AgentFailed):
        found.replay(asked("0", name="other"))
    with pytest.raises(AgentFailed, match="step 0: "):
        found.replay(asked("1"))
    with pytest.raises(AgentFailed, match="step 0: "):
        found.refuse_diverged()


def test_f52_an_agent_that_ends_early_has_diverged() -> None:
    found = journal(*[recorded(str(n), "completed") for n in range(12)])
    for n in range(9):
        found.replay(asked(str(n)))
    with pytest.raises(AgentFailed, match="without step 9,"):
        found.refuse_unreplayed()


def test_keep_through_is_the_newest_event_of_a_finished_step() -> None:
    steps = [
        recorded("0", "completed", last="2-10"),
        recorded("1", "completed", last="10-2"),
        recorded("2", "completed"),
        recorded("3", "started", last="11-1"),
    ]
    assert journal(*steps).keep_through() == EventId(10, 2)
    assert journal(*steps[2:]).keep_through() is None


def test_positions_count_from_zero() -> None:
    found = journal()
    assert [found.take_position() for _ in range(3)] == ["0", "1", "2"]


async def test_a_write_is_repeated_until_its_outcome_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_REPEAT_INTERVAL_S", 0.0)
    errors = [StoreUnavailable("away"), StoreUnavailable("away")]

    async def write() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await until_known(write) == "done"
