"""What a client's message says to a question."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from holdfast_gateway.protocols.ai_sdk.asking import UIMessage, answers_in

_ID = UUID("00000000-0000-4000-8000-000000000003")
_OF_A_CALL = {"type": "question", "call_id": "call"}


def _message(*parts: dict[str, Any]) -> UIMessage:
    return UIMessage(id="m", role="assistant", parts=[{"type": "tool-t", **part} for part in parts])


def _output(call_id: str, output: Any) -> dict[str, Any]:
    return {"toolCallId": call_id, "state": "output-available", "output": output}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([_output("call", 1)], [1]),
        ([_output(str(_ID), 1)], [1]),
        ([_output("call", 1), _output("call#2", 2)], [2]),
        ([_output("call", 1), {"toolCallId": "call#2", "state": "input-available"}], []),
        ([_output("call", 1), _output("called", 2)], [1]),
        ([{"toolCallId": "call", "state": "output-error", "errorText": "no"}], [{"error": "no"}]),
        ([{"state": "output-available", "output": 1}], []),
    ],
)
def test_a_call_whose_id_came_again_is_answered_by_the_newest(parts: list[dict[str, Any]], said: list[Any]) -> None:
    assert list(answers_in(_message(*parts), _ID, _OF_A_CALL)) == said


def test_a_question_about_no_call_is_not_answered_by_a_part_without_an_id() -> None:
    assert answers_in(_message({"state": "output-available", "output": 1}), _ID, {"text": "?"}) == []
    assert answers_in(_message(_output("None", 1)), _ID, {"text": "?"}) == []
