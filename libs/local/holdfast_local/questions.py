"""What a waiting run asks, in words: the question, what may be answered, and the very command that answers it. Pure.

A *wait* is one entry of a run's ``waiting``, or the data of a ``run.waiting`` event: ``kind``, ``position``, ``question_id``
and what its kind adds (``question`` and ``schema``, ``until``, or ``child_run_id``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast_local.listing import printable

_UNKNOWN, _APPROVAL, _OPEN = "unknown", "approval", "question"
_WAYS = {
    _UNKNOWN: ("--done JSON", "--retry", "--fail MESSAGE"),
    _APPROVAL: ("--approve", "--deny REASON", "--arguments JSON"),
    _OPEN: ("ANSWER",),
}


def is_question(wait: Mapping[str, Any]) -> bool:
    """Whether a person can answer it; a timer and a child run end by themselves."""
    return wait["kind"] in ("ask", "unknown")


def sort_of(wait: Mapping[str, Any]) -> str:
    """``unknown`` (a step whose outcome nobody knows), ``approval`` (of a tool's call) or ``question``."""
    if wait["kind"] == "unknown":
        return _UNKNOWN
    question = wait.get("question")
    return _APPROVAL if isinstance(question, Mapping) and question.get("type") == "approval" else _OPEN


def asked(wait: Mapping[str, Any]) -> str:
    """What is waited for, on one line that a terminal can take."""
    question = wait.get("question")
    if wait.get("child_run_id"):
        words = f"its child run {wait['child_run_id']}"
    elif wait.get("until"):
        words = f"its timer, until {wait['until']}"
    elif not isinstance(question, Mapping):
        words = question if isinstance(question, str) else "an answer" if question is None else _json(question)
    elif sort_of(wait) == _APPROVAL:
        words = f"{question.get('text', '')} {question.get('tool', '')} {_json(question.get('arguments'))}"
    elif sort_of(wait) == _UNKNOWN:
        step = question.get("step")
        step_input = step.get("input") if isinstance(step, Mapping) else None
        words = str(question.get("text") or "was it done?") + (
            f" {_json(step_input)}" if step_input is not None else ""
        )
    else:
        text = str(question.get("text") or "")
        rest = {name: value for name, value in question.items() if name not in ("type", "text")}
        words = " ".join(part for part in (text, _json(rest) if rest else "") if part) or "an answer"
    return printable(words)


def ways_to_answer(run_id: str, wait: Mapping[str, Any], *, alone: bool) -> list[str]:
    """The commands that answer it. ``alone``: the run asks nothing else, and so the question needs no name."""
    return [" ".join((_command(run_id, wait, alone=alone), way)) for way in _WAYS[sort_of(wait)]]


def how_to_answer(run_id: str, wait: Mapping[str, Any], *, alone: bool) -> str:
    """The same in one line."""
    first, *rest = _WAYS[sort_of(wait)]
    return " or ".join((f"`{_command(run_id, wait, alone=alone)} {first}`", *(f"`{way}`" for way in rest)))


def _command(run_id: str, wait: Mapping[str, Any], *, alone: bool) -> str:
    return f"holdfast answer {run_id}" + ("" if alone else f" --question {wait['question_id']}")


def is_alone(position: str) -> bool:
    """Whether nothing else of its run can wait beside what waits here: only steps that run in parallel have a dot."""
    return "." not in position


def value_of(text: str, schema: Mapping[str, Any] | None = None) -> Any:
    """What was typed: JSON, or the text itself when it is not JSON, or when the schema wants a text and the JSON is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    wants_text = schema is not None and schema.get("type") == "string"
    return text if wants_text and not isinstance(value, str) else value


def summary(waiting: Sequence[Mapping[str, Any]]) -> str:
    """The kinds of what is waited for, for a list: ``ask``, ``ask, sleep``."""
    return ", ".join(dict.fromkeys(str(wait["kind"]) for wait in waiting))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def way_on(run_id: str, error: Mapping[str, Any] | None) -> str:
    """What may be done about an interrupted run."""
    if error is not None and error.get("code") == "diverged":
        return (
            f"bring back the agent's old code, then `holdfast resume {run_id}` lets it go on; or have this code do it anew "
            f"from some step on: `holdfast fork {run_id} --from-position P`"
        )
    return f"`holdfast resume {run_id}` lets it go on from its last finished step"
