"""How a run gets a child that can go on: a new session, or an old one that is compared with the journal first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from holdfast.errors import AgentFailed
from holdfast_agent.acp.child import Child, Command
from holdfast_agent.acp.continuation import first_prompt, loaded_prompt, retold_prompt
from holdfast_agent.acp.history import Disagreement, Matched, match
from holdfast_agent.acp.scribe import UNKNOWN, Scribe, settle_call
from holdfast_agent.acp.story import (
    CUT,
    CallItem,
    SaidItem,
    Story,
    Unfinished,
    is_own,
    message_spec,
    session_spec,
    turn_spec,
)
from holdfast_agent.acp.updates import ToolCall
from holdfast_agent.run import Run

_AGAIN = "nobody knows whether it was done, and a person said: do it again"

Keep = Callable[[Child], None]


async def take_up(run: Run, story: Story, command: Command, keep: Keep) -> str:
    """A child with a session, and the prompt that it is to be given. What the journal had left open is settled by then.

    Args:
        run: the run.
        story: its story so far.
        command: how to start the child.
        keep: called with the child as soon as there is one, so that it is stopped whatever happens.

    Raises:
        AgentFailed: ``diverged``: the child's session and the journal disagree. Else as :meth:`Child.start`.
    """
    if story.session is not None and not story.session_begun and is_own(run, story) and _could_load(story):
        child = await Child.start(command)
        keep(child)
        history = await child.load(str(story.session["session_id"])) if child.can_load else None
        if history is not None:
            try:
                matched = match(story.sittings, history)
            except Disagreement as found:
                run.emit(
                    "acp.diverged", {"at": found.at, "journal": list(found.journal), "session": list(found.session)}
                )
                raise AgentFailed("diverged", str(found)) from found
            return await _go_on(run, story, matched)
        return await _begin(run, story, child)
    return await _begin(run, story, None, start=lambda: Child.start(command), keep=keep)


def _could_load(story: Story) -> bool:
    assert story.session is not None
    return bool((story.session.get("capabilities") or {}).get("loadSession"))


async def _begin(
    run: Run,
    story: Story,
    child: Child | None,
    *,
    start: Callable[[], Awaitable[Child]] | None = None,
    keep: Keep | None = None,
) -> str:
    """A new session. Its id is in the journal before anything is asked in it."""
    await _settle(run, story, Matched())

    async def work() -> Any:
        made = child
        if made is None:
            assert start is not None
            assert keep is not None
            made = await start()
            keep(made)
        return {"session_id": await made.new_session(), "run_id": str(run.id), **made.about}

    story.began_session(await run.backend.step(session_spec(), work))
    return await _retold(run, story)


async def _retold(run: Run, story: Story) -> str:
    """To a session in which nothing was asked yet."""
    asked = first_prompt(run.input, await run.history())
    return retold_prompt(story.all_sittings, _unknown(story), _to_tell(story), asked, cut=_was_cut(story))


async def _go_on(run: Run, story: Story, matched: Matched) -> str:
    """The session is the journal's: take what it has beyond that, and say what it lacks."""
    await _settle(run, story, matched)
    if not matched.arrived:
        unsent = next((sitting.prompt for sitting in story.sittings if sitting.prompt), None)
        return unsent or await _retold(run, story)
    return loaded_prompt(matched.behind, _unknown(story), _to_tell(story), cut=_was_cut(story))


async def _settle(run: Run, story: Story, matched: Matched) -> None:
    """End what the journal has begun and not finished: by what the session says of it, else by its policy."""
    left, story.unfinished = story.unfinished, []
    for begun in left:
        if begun.call is not None:
            found = matched.ends.get(id(begun.call)) or CallItem(begun.call, "unknown")
            await _settle_call(run, story, found, begun.call, begun)
    scribe = Scribe(run, story)
    try:
        for item in matched.beyond:
            if isinstance(item, SaidItem):
                await scribe.say(item.text)
            else:
                await scribe.end_message()
                story.began_call(item.call)
                await _settle_call(run, story, item, item.call, None)
        await scribe.end_message()
        await _end_cut(run, story, left, matched.sent)
    finally:
        await scribe.drop()


async def _settle_call(run: Run, story: Story, found: CallItem, call: ToolCall, begun: Unfinished | None) -> None:
    """One call: its outcome is the session's, or nobody knows it."""
    name = begun.name if begun is not None else call.name
    call_id = begun.call_id if begun is not None else story.fresh_call_id(call.id)
    failure: AgentFailed | None = None
    outcome: Any = None
    if found.status == "completed":
        outcome = {**found.call.result, "source": "session"}
    elif found.status == "failed":
        failure = AgentFailed("tool_failed", found.result or "the agent says that it failed")
    elif begun is not None and begun.again:
        failure = AgentFailed("run_again", _AGAIN)
    else:
        failure = AgentFailed("unknown", UNKNOWN)
    known = found.status in ("completed", "failed")
    status, result = await settle_call(run, name, call_id, call, outcome=outcome, failure=failure, known=known)
    story.ended_call(call, status, result)


async def _end_cut(run: Run, story: Story, left: Sequence[Unfinished], sent: bool | None) -> None:
    """What was being said, and the turn itself, are over. What was said since the last finished step is lost, and shown so."""

    async def cut_message() -> Any:
        return {"text": "", "cut": True}

    async def cut_turn() -> Any:
        return {"outcome": CUT, "sent": sent}

    begun = f"acp:message-{story.messages + 1}"
    if any(each.call_id == begun for each in left):
        await run.backend.step(message_spec(story.messages + 1), cut_message)
        story.messages += 1
    if any(each.kind == "turn" for each in left):
        story.ended_turn(await run.backend.step(turn_spec(story.turns), cut_turn))


def _unknown(story: Story) -> list[CallItem]:
    """The calls whose outcome nobody knows, of the sittings that were cut since the last that was not."""
    unknown: list[CallItem] = []
    for sitting in reversed(story.all_sittings):
        if sitting.how != CUT:
            break
        unknown += [item for item in sitting.items if isinstance(item, CallItem) and item.status == "unknown"]
    return unknown


def _was_cut(story: Story) -> bool:
    """Was a child ever killed in its turn? It may have done what nobody was told of."""
    return any(sitting.how == CUT for sitting in story.all_sittings)


def _to_tell(story: Story) -> list[Any]:
    """What was decided since the last prompt."""
    return [each for each in story.permissions if not each.given]
