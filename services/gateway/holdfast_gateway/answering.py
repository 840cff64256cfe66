"""An answer to a question of a run: is it for a question that is open, does it fit, is it the first; and what follows it.

A viewer sees ``run.waiting`` a moment before the record holds that the run waits (append, then commit). An answer that comes in
that moment is tried again for a while, not refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from holdfast.errors import NotFound, Refused, Terminal
from holdfast.logs import get_logger
from holdfast.runs import TERMINAL
from holdfast.store import RunRow, WaitRow
from holdfast.store import caller as record
from holdfast_gateway.parts import Parts
from holdfast_gateway.schemas import problems_with, validator_of

log = get_logger(__name__)
_EARLY_MAX_S = 3.0
_EARLY_PAUSE_S = 0.05
_LOC = ("body", "answer")
_TAG = "$holdfast"  # of holdfast_agent.codec, which makes values of types out of such objects


class InvalidAnswer(Terminal):
    """The answer is not what the question takes. ``problems`` are ``{"loc": [...], "msg": ...}``."""

    def __init__(self, problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(f"the answer is not what the question takes: {problems[0]['msg']}")
        self.problems = list(problems)


class _Outcome(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Done(_Outcome):
    outcome: Literal["done"]
    result: Any


class _Retry(_Outcome):
    outcome: Literal["retry"]


class _Fail(_Outcome):
    outcome: Literal["fail"]
    message: str = Field(default="", max_length=10_000)


_OUTCOME: TypeAdapter[_Done | _Retry | _Fail] = TypeAdapter(
    Annotated[_Done | _Retry | _Fail, Field(discriminator="outcome")]
)


@dataclass(frozen=True, slots=True)
class _Decided:
    """What an answer makes of the step that waits for it."""

    status: Literal["completed", "failed", "retry"]
    output: Any = None
    error: Mapping[str, str] | None = None


async def answer(parts: Parts, tenant_id: str, run_id: UUID, question_id: UUID, value: Any) -> None:
    """Answer a question of a run, once, and have the run go on.

    Raises:
        NotFound: this tenant has no such run (``run``), or the run has not asked this (``question``).
        Refused: ``already_answered``, ``run_ended``, ``not_a_question``, ``not_waiting_yet``.
        InvalidAnswer: it is not what the question takes.
        StoreUnavailable: the record is away; whether the answer is there is not known, and a second one will tell.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _EARLY_MAX_S
    while True:
        run = await record.run(parts.record.db, tenant_id, run_id)
        wait = await record.wait(parts.record.db, tenant_id, run_id, question_id)
        if await _answered(parts, run, wait, value):
            return
        if loop.time() >= until:
            raise _too_early(run, wait, question_id)
        await asyncio.sleep(_EARLY_PAUSE_S)


async def _answered(parts: Parts, run: RunRow, wait: WaitRow | None, value: Any) -> bool:
    """False: not yet, or something has changed just now: look again."""
    if wait is not None and wait.kind not in ("ask", "unknown"):
        what = "a timer" if wait.kind == "sleep" else "a child run"
        raise Refused("not_a_question", f"{wait.id} waits for {what}, not for an answer; to stop it, cancel the run")
    if wait is not None and wait.done_at is not None:
        raise Refused("already_answered", f"question {wait.id} has been answered already; the first answer holds")
    if run.status in TERMINAL:
        raise Refused("run_ended", f"run {run.id} has ended already: it is {run.status}; fork it to go on from there")
    if wait is None:
        return False
    decided = _decide(wait, value)  # said at once, also for an answer that comes early
    done = await record.answer(
        parts.record.db,
        run.tenant_id,
        run.id,
        wait.id,
        answer=value,
        status=decided.status,
        output=decided.output,
        error=decided.error,
    )
    if done is None:
        return False
    log.info("run.answered", run_id=str(run.id), question_id=str(wait.id), position=wait.position, status=done.status)
    if done.status == "queued":
        await parts.announcer.asked_again(done.pool, run.id)
    return True


def _decide(wait: WaitRow, value: Any) -> _Decided:
    """Hold an answer against what its question takes.

    Raises:
        InvalidAnswer: it does not fit.
    """
    decided = _outcome(value) if wait.kind == "unknown" else _Decided("completed", output=value)
    whose = f"question at {wait.position}"
    validator = validator_of(wait.schema, whose) if isinstance(wait.schema, Mapping) else None
    if problems := problems_with(value, validator, _LOC, whose):
        raise InvalidAnswer(problems)
    return decided


def _outcome(value: Any) -> _Decided:
    """What a person says of a step whose outcome nobody knows."""
    try:
        outcome = _OUTCOME.validate_python(value)
    except ValidationError as error:
        raise InvalidAnswer(
            [{"loc": [*_LOC, *each["loc"][1:]], "msg": each["msg"]} for each in error.errors()]
        ) from error
    match outcome:
        case _Done(result=result):
            if _has_tag(result):
                raise InvalidAnswer(
                    [{"loc": [*_LOC, "result"], "msg": f"a result has no key {_TAG!r}: that is the record's own"}]
                )
            return _Decided("completed", output=result)
        case _Retry():
            return _Decided("retry")
        case _Fail(message=message):
            said = message or "nobody knows whether it was done; a person decided that it counts as failed"
            return _Decided("failed", error={"code": "unknown_outcome", "message": said})


def _has_tag(value: Any) -> bool:
    """Does a value name a type for the runner to make of it? That is not for those who answer."""
    if isinstance(value, Mapping):
        return _TAG in value or any(map(_has_tag, value.values()))
    return isinstance(value, list) and any(map(_has_tag, value))


def _too_early(run: RunRow, wait: WaitRow | None, question_id: UUID) -> Exception:
    if wait is None:
        return NotFound("question", str(question_id))
    return Refused(
        "not_waiting_yet",
        f"run {run.id} has not come to wait for question {question_id} yet: answer after its run.waiting",
    )
