"""What the record can hold, and what is made of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from holdfast.errors import AgentFailed
from holdfast_runner.recordable import clean_text, encode, error_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refused(value: Any, *, bytes_max: int = 1000) -> AgentFailed:
    """How a value is refused."""
    with pytest.raises(AgentFailed) as failure:
        encode(value, what="the thing", bytes_max=bytes_max)
    return failure.value


def test_a_value_comes_back_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "ä"], "b": {}}
    assert from_json(encode(value, what="it", bytes_max=1000)) == value


@given(json_values)
def test_what_is_encoded_holds_no_nul(value: Any) -> None:
    try:
        encoded = encode(value, what="it", bytes_max=10**9)
    except AgentFailed as failed:
        assert failed.code == "not_json"  # noqa: PT017 - either outcome is right
        assert "\\x00" in repr(value)
    else:
        assert "\x00" not in str(from_json(encoded))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "C:\\u0000", 'a"\\u0000'])
def test_a_backslash_before_u0000_is_no_nul(text: str) -> None:
    assert from_json(encode(text, what="it", bytes_max=100)) == text


@pytest.mark.parametrize("text", ["\x00", "\\\x00", "a\\\\\x00", "\\u0000\x00"])
def test_a_nul_is_refused(text: str) -> None:
    assert "NUL" in refused(text).message


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    assert refused({"deep": [number]}).code == "not_json"


def test_words_that_look_like_such_numbers_are_fine() -> None:
    assert encode(["NaN", {"Infinity": "-Infinity"}], what="it", bytes_max=100)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert refused(loop).code == "not_json"


def test_the_bound_is_in_bytes_and_named() -> None:
    assert encode("ä" * 10, what="the thing", bytes_max=22)
    assert refused("ä" * 10, bytes_max=21).message == "the thing has 22 bytes; 21 are allowed"


@given(st.text(alphabet=st.characters(codec=None, categories=["Cs", "Lu", "Cc"])))
def test_clean_text_can_be_held(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    assert cleaned.encode().decode() == cleaned


def test_clean_text_joins_surrogates_that_belong_together() -> None:
    assert clean_text("\ud83d\ude00 \ud83d x\x00") == "\U0001f600 \ufffd x\ufffd"


def test_a_failure_is_bounded_and_clean() -> None:
    error = error_of(AgentFailed("co\x00de", "m\ud800" * 5000))
    assert error["code"] == "co\ufffdde"
    assert error_of(AgentFailed(404, None)) == {"code": "404", "message": "None"}  # type: ignore[arg-type]  # careless
    assert len(error["message"]) == 4000
    assert error["message"].endswith("\u2026")


@pytest.mark.parametrize(("depth", "fits"), [(100, True), (190, True), (250, False), (5000, False)])
def test_what_is_nested_too_deep_to_be_read_back_is_refused(depth: int, fits: bool) -> None:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    if fits:
        assert from_json(encode(value, what="it", bytes_max=1 << 20)) == value
        return
    with pytest.raises(AgentFailed) as refused:
        encode(value, what="it", bytes_max=1 << 20)
    assert refused.value.code == "not_json"
