"""Places in a journal: the same at each replay, also of what runs side by side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import AgentFailed
from holdfast_runner.positions import Scope


def nothing(_: str) -> dict[str, str]:
    """A journal without keyed steps."""
    return {}


def take(scope: Scope, item: str) -> str:
    """Enter and leave an item: ``step``, ``gather`` or a key."""
    enter: dict[str, Callable[[str], str]] = {"step": scope.enter, "gather": scope.enter_group}
    position = enter[item](item) if item in enter else scope.enter_keyed(item, item, nothing)
    scope.leave(item, None if item in enter else item)
    return position


def test_items_count_from_zero() -> None:
    scope = Scope()
    assert [take(scope, each) for each in ("step", "gather", "step")] == ["0", "1", "2"]


def test_a_branch_s_first_step_has_the_branch_s_own_place() -> None:
    scope = Scope.branch("3", 1)
    assert [take(scope, each) for each in ("step", "step", "gather")] == ["3.1", "3.1.1", "3.1.2"]


def test_a_gather_never_has_a_branch_s_own_place() -> None:
    scope = Scope.branch("3", 1)
    assert [take(scope, each) for each in ("gather", "step")] == ["3.1.1", "3.1.2"]


def test_keyed_steps_between_two_items_form_a_group() -> None:
    scope = Scope()
    assert [take(scope, each) for each in ("step", "a", "b", "step", "a")] == ["0", "1.0", "1.1", "2", "3.0"]


def test_a_keyed_step_is_found_again_by_its_key_whatever_the_order() -> None:
    scope = Scope()
    found = {"1": {"b": "1.0"}}
    scope.enter("model")
    scope.leave("model")
    places = [scope.enter_keyed(key, key, lambda group: found.get(group, {})) for key in ("a", "b", "c")]
    assert places == ["1.1", "1.0", "1.2"]


def test_what_is_done_within_a_step_is_keyed_and_stands_below_it() -> None:
    scope = Scope.within("5")
    assert [scope.enter_keyed(key, key, nothing) for key in ("a", "b")] == ["5.0.0", "5.0.1"]
    with pytest.raises(AgentFailed, match="within the work of a step"):
        scope.enter("step")
    with pytest.raises(AgentFailed, match="within the work of a step"):
        scope.enter_group("gather")


def test_what_stands_alone_cannot_overlap() -> None:
    scope = Scope()
    scope.enter("one")
    entries: list[Callable[[], str]] = [
        lambda: scope.enter("two"),
        lambda: scope.enter_group("g"),
        lambda: scope.enter_keyed("k", "k", nothing),
    ]
    for enter in entries:
        with pytest.raises(AgentFailed, match=r"started beside 'one': use run\.gather") as refused:
            enter()
        assert refused.value.code == "steps_overlap"
    scope.leave("one")
    scope.enter_keyed("k", "k", nothing)
    scope.enter_keyed("l", "l", nothing)
    with pytest.raises(AgentFailed, match="started beside 'k'"):
        scope.enter("two")


def test_a_call_id_answers_one_call() -> None:
    scope = Scope()
    scope.enter_keyed("k", "id", nothing)
    with pytest.raises(AgentFailed, match="'id' was used before"):
        scope.enter_keyed("l", "id", nothing)


Tree = list["str | list[Tree]"]
items: st.SearchStrategy[Tree] = st.recursive(
    st.lists(st.sampled_from(["step", "a", "b", "c"]), max_size=4),
    lambda inner: st.lists(st.one_of(st.just("step"), st.lists(inner, min_size=1, max_size=3)), max_size=4),
    max_leaves=12,
)
"""What an agent does: steps, keyed steps, and gathers of such lines."""


def places(tree: Tree, scope: Scope) -> list[str]:
    """The position of each row."""
    found: list[str] = []
    used: set[str] = set()
    for item in tree:
        if isinstance(item, list):
            group = take(scope, "gather")
            for number, line in enumerate(item):
                found += places(line, Scope.branch(group, number))
            used = set()
        elif item == "step" or item not in used:
            found.append(take(scope, item))
            used = set() if item == "step" else used | {item}
    return found


@given(items)
def test_no_two_rows_share_a_place_and_their_order_is_the_journal_s(tree: Tree) -> None:
    rows = places(tree, Scope())
    assert len(set(rows)) == len(rows)
    assert rows == sorted(rows, key=lambda row: [int(part) for part in row.split(".")])
    assert rows == places(tree, Scope()), "the same at each replay"
