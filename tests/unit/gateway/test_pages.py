"""Cursors, fingerprints, and what the OpenAPI page says."""

from __future__ import annotations

from uuid import UUID

import pytest

from holdfast.errors import Refused
from holdfast_gateway.http.pages import cursor_of, cut, place_of
from holdfast_gateway.submitting import fingerprint_of


def test_a_cursor_brings_back_its_place_in_its_own_list_only() -> None:
    run_id = UUID(int=7)
    assert place_of("runs", cursor_of("runs", run_id), UUID, None) == run_id
    assert place_of("runs", None, UUID, None) is None
    for wrong in (cursor_of("threads", 7), cursor_of("runs", "x"), "", "ä", "=", "A"):
        with pytest.raises(Refused) as refused:
            place_of("runs", wrong, UUID, None)
        assert refused.value.code == "invalid_cursor"


def test_a_page_has_a_cursor_only_when_there_is_more() -> None:
    assert cut([1, 2], 2, "k", int) == ([1, 2], None)
    page, cursor = cut([1, 2, 3], 2, "k", int)
    assert page == [1, 2]
    assert place_of("k", cursor, int, 0) == 2


def test_a_fingerprint_is_of_the_request_and_not_of_its_spelling() -> None:
    one = fingerprint_of("/v1/runs", {"agent": "a", "input": {"x": 1, "y": [1, 2]}})
    assert one == fingerprint_of("/v1/runs", {"input": {"y": [1, 2], "x": 1}, "agent": "a"})
    assert one != fingerprint_of("/v1/threads/t/runs", {"agent": "a", "input": {"x": 1, "y": [1, 2]}})
    assert one != fingerprint_of("/v1/runs", {"agent": "a", "input": {"x": 1, "y": [2, 1]}})
    assert len(one) == 32
    assert fingerprint_of("/", {"input": "ä\ud800"})
