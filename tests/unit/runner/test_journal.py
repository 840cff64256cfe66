"""Replay: what a journal gives back, and how it notices that its agent has left it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from holdfast.errors import AgentFailed, StoreUnavailable
from holdfast.runs import EventId, Lease, Owner
from holdfast.store import Database, JournalStep, KeptText
from holdfast.store.rows import Journaled
from holdfast_runner import journal as journal_module
from holdfast_runner.journal import Journal, Step, hash_of, until_known

LEASE = Lease(UUID(int=1), Owner("pod", UUID(int=2)), 2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def recorded(position: str, status: str, *, last: str | None = None, name: str = "chat", **more: Any) -> JournalStep:
    """A step, as the record has it."""
    return JournalStep(
        position, "model", name, hash_of(b'"asked"'), status, 1, 1, "out", None, "text", last, NOW, NOW,
        **{"code_version": "1", "finish_id": last, **more},
    )  # fmt: skip


def journal(*steps: JournalStep, kept: tuple[KeptText, ...] = ()) -> Journal:
    """A journal that writes nothing."""
    return Journal(cast(Database, None), LEASE, Journaled(list(steps), list(kept), []), code_version="1")


def asked(position: str, *, name: str = "chat", request: bytes = b'"asked"') -> Step:
    """What an agent asks for."""
    return Step(position, "model", name, hash_of(request))


def test_a_finished_step_is_given_back() -> None:
    found = journal(recorded("0", "completed"), recorded("1", "failed"))
    given_back = [found.replay(asked(position)) for position in ("0", "1", "2")]
    assert [known and (known.status, known.finished, known.output) for known in given_back] == [
        ("completed", True, "out"),
        ("failed", True, "out"),
        None,
    ]


@pytest.mark.parametrize("status", ["started", "retry"])
def test_a_step_whose_outcome_is_not_known_is_no_replay(status: str) -> None:
    known = journal(recorded("0", status)).replay(asked("0"))
    assert known is not None
    assert (known.status, known.finished) == (status, False)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (asked("0", name="other"), "the journal has model 'chat'"),
        (asked("0", request=b'"else"'), hash_of(b'"else"').hex()[:8]),
        (Step("0", "tool", "chat", hash_of(b'"asked"')), "asks for tool 'chat'"),
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
    with pytest.raises(
        AgentFailed, match="step 9: the journal has model 'chat' finished, the agent now ended without it"
    ):
        found.refuse_unreplayed()


@pytest.mark.parametrize(("written_by", "interrupted"), [("1", False), ("2", True)])
def test_f20_divergence_from_what_other_code_wrote_is_told_apart(written_by: str, interrupted: bool) -> None:
    found = journal(recorded("0", "completed", code_version=written_by))
    assert not found.diverged_by_other_code
    with pytest.raises(AgentFailed):
        found.replay(asked("0", name="other"))
    assert found.diverged_by_other_code is interrupted


def test_what_was_done_within_a_finished_step_need_not_be_asked_for() -> None:
    found = journal(recorded("0", "completed"), recorded("0.0.0", "completed"), recorded("0.0.1", "failed"))
    found.replay(asked("0"))
    found.refuse_unreplayed()


def test_steps_finished_while_nobody_owned_the_run_are_told_until_something_later_is_kept() -> None:
    answered = recorded("0", "completed", last="1-5", told=False)
    assert journal(answered).untold() == [answered]
    assert journal(answered, recorded("1", "completed", last="1-9")).untold() == [answered], "of the attempt that asked"
    assert journal(answered, recorded("1", "completed", last="2-9")).untold() == []
    assert journal(answered, kept=(KeptText(2, "", "2-3", "2-3", None),)).untold() == []


def test_what_is_kept_is_in_the_order_in_which_it_ended() -> None:
    steps = [recorded("0.0", "completed", last="1-9"), recorded("0.1", "completed", last="1-7")]
    text = KeptText(1, "asked", "1-12", None, None)
    found = journal(*steps, recorded("1", "started"), kept=(text,))
    assert found.kept == [steps[1], steps[0], text]


def test_keyed_steps_are_found_by_their_group_and_key() -> None:
    found = journal(recorded("1.0", "completed", call_id="b"), recorded("3.0", "completed", call_id="b"))
    assert (found.keys_under("1"), found.keys_under("2"), found.keys_under("3")) == ({"b": "1.0"}, {}, {"b": "3.0"})


def test_keep_through_is_the_newest_event_of_a_finished_step() -> None:
    steps = [
        recorded("0", "completed", last="2-10"),
        recorded("1", "completed", last="10-2"),
        recorded("2", "completed"),
        recorded("3", "started", last="11-1"),
    ]
    assert journal(*steps).keep_through() == EventId(10, 2)
    assert journal(*steps[2:]).keep_through() is None


async def test_a_write_is_repeated_until_its_outcome_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_REPEAT_INTERVAL_S", 0.0)
    errors = [StoreUnavailable("away"), StoreUnavailable("away")]

    async def write() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert await until_known(write) == "done"


def test_the_order_of_keys_tells_no_step_from_another() -> None:
    assert hash_of(b'{"a": 1, "b": [2]}') == hash_of(b'{"b":[2],"a":1}') != hash_of(b'{"a":1,"b":[3]}')
