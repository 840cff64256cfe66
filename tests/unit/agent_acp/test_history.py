"""The session that a child has loaded, held against the journal."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_agent.acp.history import Disagreement, match, told
from holdfast_agent.acp.story import CUT, OPEN, PERMISSION, CallItem, Item, SaidItem, Sitting
from holdfast_agent.acp.transport import Update
from holdfast_agent.acp.updates import ToolCall


def _said(text: str) -> Update:
    return Update("s", {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}})


def _user(text: str) -> Update:
    return Update("s", {"sessionUpdate": "user_message_chunk", "content": {"type": "text", "text": text}})


def _call(ident: str, of: str, status: str | None = "completed") -> list[Update]:
    begun = {"sessionUpdate": "tool_call", "toolCallId": ident, "title": of, "rawInput": {"of": of}}
    ended = {"sessionUpdate": "tool_call_update", "toolCallId": ident, "status": status}
    return [Update("s", begun), *([Update("s", ended)] if status else [])]


def _item(ident: str, of: str, status: str = "completed") -> CallItem:
    return CallItem(ToolCall(ident, title=of, raw_input={"of": of}), status)


def _sitting(*items: Item, prompt: str | None = "do it", how: str = "open", asked: str | None = None) -> Sitting:
    return Sitting(prompt, how, frozenset({asked} if asked else ()), list(items))


def _brief(items: Any) -> list[str]:
    return [item.text if isinstance(item, SaidItem) else f"{item.call.id} {item.status}" for item in items]


def test_f62_chunks_and_updates_are_put_together() -> None:
    history = [_user("do it"), _said("one "), _said("two"), *_call("c1", "a"), _said("three")]
    texts = [getattr(item, "text", None) for item in told(history)]
    assert texts == ["do it", "one two", None, "three"]


def test_f62_an_equal_session_has_nothing_beyond_and_nothing_behind() -> None:
    sitting = _sitting(SaidItem("one "), SaidItem("two"), _item("c1", "a"), SaidItem("three"))
    matched = match([sitting], [_user("do it"), _said("one two"), *_call("c1", "a"), _said("three")])
    assert (matched.beyond, matched.behind) == ((), ())


def test_f62_what_only_the_session_has_at_its_end_is_new() -> None:
    history = [_user("do it"), _said("one and more"), *_call("c1", "a"), *_call("c2", "b", None)]
    matched = match([_sitting(SaidItem("one"))], history)
    assert _brief(matched.beyond) == [" and more", "c1 completed", "c2 unknown"]


def test_f62_what_the_session_has_lost_at_its_end_is_behind() -> None:
    matched = match([_sitting(SaidItem("one"), _item("c1", "a"))], [_user("do it"), _said("one")])
    assert _brief(matched.behind) == ["c1 completed"]


def test_f62_the_session_says_how_a_call_ended_that_the_journal_has_begun() -> None:
    begun = _item("c1", "a", OPEN)
    matched = match([_sitting(begun, SaidItem("x"))], [_user("do it"), *_call("c1", "a"), _said("x")])
    assert matched.ends[id(begun.call)].status == "completed"
    assert matched.beyond == ()


def test_f62_a_call_may_have_another_id_when_tool_and_input_are_the_same() -> None:
    assert match([_sitting(_item("c1", "a"))], [_user("do it"), *_call("x9", "a")]).beyond == ()


@pytest.mark.parametrize(
    ("journal", "session"),
    [
        ([SaidItem("one")], [_said("other")]),
        ([_item("c1", "a")], _call("c2", "b")),
        ([_item("c1", "a")], _call("c1", "a", "failed")),
        ([_item("c1", "a")], _call("c1", "other input")),
        ([SaidItem("one"), _item("c1", "a")], [*_call("c1", "a"), _said("one")]),
        ([SaidItem("one"), SaidItem("two"), _item("c1", "a")], [_said("one"), *_call("c1", "a")]),
    ],
    ids=["text", "call", "outcome", "input", "order", "missing within"],
)
def test_f62_something_else_in_the_same_place_is_a_disagreement_with_both_sides(
    journal: list[Item], session: list[Update]
) -> None:
    with pytest.raises(Disagreement) as found:
        match([_sitting(*journal)], [_user("do it"), *session])
    assert found.value.journal
    assert found.value.session
    assert "Journal:" in str(found.value)
    assert "Session:" in str(found.value)


def test_f62_a_prompt_that_this_run_did_not_send_is_a_disagreement() -> None:
    with pytest.raises(Disagreement, match="did not send"):
        match([_sitting(SaidItem("one"))], [_user("do it"), _said("one"), _user("now for me")])
    with pytest.raises(Disagreement, match="a prompt"):
        match([_sitting(SaidItem("one"))], [_user("something else entirely")])


def test_f62_a_prompt_that_never_arrived_is_known_as_such() -> None:
    assert not match([_sitting(how=CUT)], []).arrived
    cut, after = _sitting(how=CUT), _sitting(SaidItem("one"), prompt="again")
    assert match([cut, after], [_user("again"), _said("one")]).arrived
    same = _sitting(SaidItem("one"), prompt="do it")
    cut.sent = False
    assert match([cut, same], [_user("do it"), _said("one")]).beyond == ()
    assert match([_sitting(SaidItem("one"), how=CUT), _sitting(prompt="go on")], [_user("do it"), _said("one")]).arrived


def test_f62_a_prompt_that_a_child_has_added_to_is_still_the_prompt() -> None:
    assert match([_sitting()], [_user("<env>linux</env>\ndo   it")]).beyond == ()


def test_f62_how_a_child_took_being_stopped_for_a_permission_is_not_compared() -> None:
    stopped = _sitting(SaidItem("one"), how=PERMISSION, asked="c1")
    history = [
        _user("do it"),
        _said("one"),
        *_call("c1", "a", "failed"),
        _said("(interrupted)"),
        _user("[stopped by user]"),
    ]
    assert match([stopped], history).beyond == ()
    after = _sitting(_item("c2", "a"), prompt="go on")
    matched = match([stopped, after], [*history, _user("go on"), *_call("c2", "a"), _said("new")])
    assert _brief(matched.beyond) == ["new"]


def test_f62_what_a_cut_turn_has_lost_is_not_looked_for_again_later() -> None:
    cut = _sitting(SaidItem("one"), _item("c1", "a"), how=CUT)
    after = _sitting(SaidItem("two"), prompt="go on")
    assert match([cut, after], [_user("do it"), _said("one"), _user("go on"), _said("two")]).behind == ()


def test_f62_a_session_without_prompts_is_compared_as_one() -> None:
    stopped = _sitting(SaidItem("one"), how=PERMISSION, asked="c1")
    after = _sitting(_item("c2", "a"), SaidItem("end"), prompt="go on")
    matched = match([stopped, after], [_said("one"), *_call("c1", "a", "failed"), *_call("c2", "a"), _said("end, new")])
    assert _brief(matched.beyond) == [", new"]
