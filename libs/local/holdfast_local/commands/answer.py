"""``holdfast answer``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from holdfast.errors import Terminal
from holdfast_local.calling import call, gateway_options, json_option, note, print_json, run_argument
from holdfast_local.listing import age
from holdfast_local.questions import asked, how_to_answer, is_question, sort_of, value_of, ways_to_answer

if TYPE_CHECKING:
    from holdfast_local.api import Gateway

_SORT_OF_OPTION = {
    "approve": "approval", "deny": "approval", "arguments": "approval", "done": "unknown", "retry": "unknown",
    "fail": "unknown",
}  # fmt: skip


class NotAnswerable(Terminal):
    """There is nothing to answer, or not in this way. The message says what there is."""


@click.command("answer", short_help="Answer what a run asks.")
@run_argument
@click.argument("answer", required=False)
@click.option("--question", "question_id", metavar="ID", type=click.UUID, help="Which one, when the run asks several.")
@click.option("--approve", is_flag=True, help="Of an approval: let the tool be called.")
@click.option("--deny", metavar="REASON", help="Of an approval: do not; the model is told why.")
@click.option("--arguments", metavar="JSON", help="Of an approval: let it be called, with these arguments instead.")
@click.option("--done", metavar="JSON", help="Of an unknown step: it was done, with this result.")
@click.option("--retry", is_flag=True, help="Of an unknown step: run it again.")
@click.option("--fail", metavar="MESSAGE", help="Of an unknown step: it failed.")
@json_option
@gateway_options
def command(
    *,
    run_id: UUID,
    answer: str | None,
    question_id: UUID | None,
    as_json: bool,
    url: str | None,
    key: str | None,
    **options: Any,
) -> None:
    """Answer what RUN asks; without an answer, show what it asks and what may be typed.

    ANSWER is JSON, or a text when it is not JSON; one of - is read from standard input. An approval of a tool's call takes
    --approve, --deny or --arguments; a step of which nobody knows whether it was done takes --done, --retry or --fail. The
    first answer counts.
    """
    given = {name: value for name, value in options.items() if value not in (None, False)}
    if "arguments" in given:
        given.pop("approve", None)  # both together are one answer
    if len(given) + (answer is not None) > 1:
        names = [*(f"--{name}" for name in given), *(["ANSWER"] if answer is not None else [])]
        raise click.UsageError(f"give one answer, not {' and '.join(names)}")
    if answer == "-":
        answer = sys.stdin.read().removesuffix("\n")
    if "arguments" in given:
        given["arguments"] = _arguments(given["arguments"])

    async def work(gateway: Gateway) -> tuple[dict[str, Any], bool]:
        run = await gateway.run(str(run_id))
        if answer is None and not given:
            return run, False
        wait = _chosen(run, question_id)
        value = _value(run, wait, answer, given)
        return await gateway.answer(str(run_id), str(wait["question_id"]), value), True

    run, answered = call(url, key, work)
    open_now = _open(run)
    if as_json:
        print_json(run if answered else open_now)
    elif answered:
        click.echo(f"answered; the run is {run['status']}: `holdfast tail {run_id}` follows it")
        if open_now:
            note(f"it asks {len(open_now)} more: see `holdfast answer {run_id}`")
    elif open_now:
        for line in _shown(run, open_now):
            click.echo(line)
    else:
        raise NotAnswerable(_asks_nothing(run))


def _chosen(run: Mapping[str, Any], question_id: UUID | None) -> Mapping[str, Any]:
    """The question that is meant. One that was named and is not open is left to the gateway, which knows more of it."""
    open_now = _open(run)
    if question_id is not None:
        named = [wait for wait in open_now if str(wait["question_id"]) == str(question_id)]
        return named[0] if named else {"question_id": str(question_id), "kind": None}
    if not open_now:
        raise NotAnswerable(_asks_nothing(run))
    if len(open_now) > 1:
        each = "".join(f"\n  --question {wait['question_id']}  {asked(wait)}" for wait in open_now)
        raise NotAnswerable(f"the run asks {len(open_now)} questions: say which one with --question{each}")
    return open_now[0]


def _open(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [wait for wait in run.get("waiting") or () if is_question(wait)]


def _value(run: Mapping[str, Any], wait: Mapping[str, Any], answer: str | None, given: Mapping[str, Any]) -> Any:
    """What is sent for what was typed."""
    known = wait["kind"] is not None
    wanted = sort_of(wait) if known else None
    for name in given:
        if known and _SORT_OF_OPTION[name] != wanted:
            raise NotAnswerable(f"--{name} is no answer to this: {_how(run, wait)}")
    match given:
        case {"deny": reason}:
            return {"decision": "deny", **({"reason": reason} if reason else {})}
        case {"arguments": arguments}:
            return {"decision": "approve", "arguments": arguments}
        case {"approve": _}:
            return {"decision": "approve"}
        case {"done": result}:
            return {"outcome": "done", "result": value_of(result)}
        case {"retry": _}:
            return {"outcome": "retry"}
        case {"fail": message}:
            return {"outcome": "fail", **({"message": message} if message else {})}
    assert answer is not None
    value = value_of(answer, wait.get("schema"))
    if wanted in ("approval", "unknown") and not isinstance(value, dict):
        raise NotAnswerable(f"{answer!r} is no answer to this: {_how(run, wait)}")
    return value


def _arguments(text: str) -> dict[str, Any]:
    value = value_of(text)
    if not isinstance(value, dict):
        raise click.BadParameter("a tool's arguments are a JSON object", param_hint="--arguments")
    return value


def _how(run: Mapping[str, Any], wait: Mapping[str, Any]) -> str:
    alone = len(_open(run)) == 1
    return f"{asked(wait)}; answer with {how_to_answer(str(run['id']), wait, alone=alone)}"


def _shown(run: Mapping[str, Any], open_now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for number, wait in enumerate(open_now):
        yield from [""] if number else []
        yield f"question {wait['question_id']} (step {wait['position']}, asked {age(wait.get('since')) or 'now'})"
        yield f"  {asked(wait)}"
        if wait.get("schema") is not None and sort_of(wait) == "question":
            yield f"  schema: {json.dumps(wait['schema'], ensure_ascii=False)}"
        for way in ways_to_answer(str(run["id"]), wait, alone=len(open_now) == 1):
            yield f"  {way}"


def _asks_nothing(run: Mapping[str, Any]) -> str:
    run_id, status = run["id"], run["status"]
    match status:
        case "completed" | "failed" | "cancelled":
            return f"run {run_id} has ended: it is {status}"
        case "interrupted":
            return f"run {run_id} is interrupted and asks nothing: `holdfast resume {run_id}` lets it go on"
    others = [asked(wait) for wait in run.get("waiting") or ()]
    return f"run {run_id} asks nothing now: it is {status}" + (f", for {' and '.join(others)}" if others else "")
