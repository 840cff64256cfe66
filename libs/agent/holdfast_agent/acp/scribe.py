"""Writes what a child says and does into the journal, in the child's own order.

A *message* step holds what is shown between two tool calls: text, thoughts, plans. It ends, and is durable, when a call
begins, when the turn ends, or when it is long. A *tool* step is open from the child's word that a call is going on to its word
how that ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import AgentFailed
from holdfast_agent.acp.open_step import OpenStep
from holdfast_agent.acp.permission import Permission
from holdfast_agent.acp.story import Story, call_shown, keyed_spec, message_spec
from holdfast_agent.acp.transport import Update
from holdfast_agent.acp.updates import ToolCall, shortened, text_of
from holdfast_agent.backend import OnUnknown
from holdfast_agent.run import Run

_MESSAGE_CHARS_MAX = 8_000
_ANNOUNCED_S_MAX = 0.5
"""How long a call that is only announced (``pending``) may stay out of the journal: a permission request may be right behind."""
UNKNOWN = "the agent was stopped while the call was going on: it may or may not have been done"
UNSAID = "the agent ended its turn without a word on how the call ended: it may or may not have been done"


@dataclass
class _Open:
    """A call that goes on. ``step`` is None while it is only announced; from then on ``call_id`` and ``shown`` are the step's key
    and input."""

    call: ToolCall
    step: OpenStep | None
    announced_at: float
    allowed: bool = False
    call_id: str = ""
    shown: Mapping[str, Any] = field(default_factory=dict)


class Scribe:
    """Takes updates, one after the other. One for each turn, and one for what a loaded session has beyond the journal."""

    def __init__(self, run: Run, story: Story) -> None:
        self._run = run
        self._story = story
        self._message: OpenStep | None = None
        self._said: list[str] = []
        self._chars = 0
        self._calls: dict[str, _Open] = {}
        self._ended: set[str] = set()

    @property
    def working(self) -> bool:
        """Is a call going on, or so new that one cannot tell? One that stays ``pending`` has not begun, says the protocol."""
        return any(
            each.step is None or each.allowed or each.call.status == "in_progress" for each in self._calls.values()
        )

    @property
    def journalled_work(self) -> bool:
        """Does a call go on whose intent is journalled?"""
        return any(each.step is not None and each.step.begun for each in self._calls.values())

    @property
    def due_in_s(self) -> float | None:
        """When :meth:`open_announced` is to be called; None: not."""
        waiting = [each.announced_at for each in self._calls.values() if each.step is None]
        if not waiting:
            return None
        return max(min(waiting) + _ANNOUNCED_S_MAX - asyncio.get_running_loop().time(), 0.0)

    async def take(self, update: Update) -> bool:
        """Write an update. False: it is of no kind that belongs to a message or a call."""
        match update.kind:
            case "agent_message_chunk" | "agent_thought_chunk":
                await self._show_text(update)
            case "tool_call" | "tool_call_update" if update.update.get("toolCallId"):
                await self._take_call(update)
            case "plan" | "plan_update" | "plan_removed":
                (await self._in_message()).show("custom", custom(update))
            case _:
                return False
        return True

    async def say(self, text: str) -> None:
        """Write text."""
        while text:
            message = await self._in_message()
            piece, text = text[:_MESSAGE_CHARS_MAX], text[_MESSAGE_CHARS_MAX:]
            message.show("text.delta", {"text": piece})
            self._said.append(piece)
            self._chars += len(piece)

    async def end_message(self) -> None:
        """What was said so far is durable when this returns."""
        if self._message is None:
            return
        message, text = self._message, "".join(self._said)
        await message.end({"text": text})
        self._message, self._said, self._chars = None, [], 0
        self._story.messages += 1
        self._story.said(text)

    # -- calls -------------------------------------------------------------------------------------------------------

    async def allow(self, call: ToolCall, permission: Permission | None = None) -> None:
        """A call is about to be told that it may go on: journal it, and that it uses this permission."""
        await self.end_message()
        opened = self._calls.setdefault(call.id, _Open(call, None, asyncio.get_running_loop().time()))
        opened.allowed = True
        await self.open_announced(through=call.id)
        if permission is None or permission.always:
            return
        if call_shown(opened.shown).fingerprint != permission.fingerprint:
            await self._note_use(opened.call_id, permission)
        if permission.used_by is not call:
            permission.use(call)

    async def _note_use(self, call_id: str, permission: Permission) -> None:
        """The call's step has not all of its input (it began before it told that, or it is long): a replay would not see which
        permission it uses, and the permission would count once more."""
        note = OpenStep(self._run, message_spec(self._story.messages + 1))
        try:
            await note.begin()
            used = {"call_id": call_id, "fingerprint": permission.fingerprint}
            await note.end({"text": "", "permission": used})
        finally:
            await note.drop()
        self._story.messages += 1

    async def open_announced(self, *, through: str | None = None) -> None:
        """Journal the calls that were announced, in their order; those up to one of them, or all."""
        for ident, each in list(self._calls.items()):
            if each.step is None:
                self._story.began_call(each.call)
                each.call_id, each.shown = self._story.fresh_call_id(each.call.id), each.call.shown
                each.step = OpenStep(self._run, keyed_spec("tool", each.call.name, each.call_id, shown=each.shown))
                await each.step.begin()
            if ident == through:
                return

    def asked_for(self, asked: Mapping[str, Any]) -> ToolCall:
        """The call that a permission request is about, with what the request says of it."""
        ident = str(asked["toolCallId"])
        opened = self._calls.get(ident)
        call = opened.call if opened is not None else ToolCall(ident)
        status = call.status
        call.merge(asked)
        call.status = status
        return call

    async def hold(self, call: ToolCall) -> None:
        """A call waits for a permission that only a person can give: it does not go on."""
        opened = self._calls.pop(call.id, None)
        self._ended.add(call.id)
        if opened is not None and opened.step is not None:
            await opened.step.end({"status": "asked", "text": "it asked for permission, and was not begun"})
            self._story.forget_call(call)

    async def end_calls(self, why: str = UNKNOWN) -> None:
        """The turn is over: nobody knows what became of the calls that go on."""
        await self.open_announced()
        for ident in list(self._calls):
            await self._end_call(self._calls.pop(ident), AgentFailed("unknown", why))

    async def drop_unbegun(self) -> None:
        """Give up on the calls whose intent cannot be journalled."""
        for ident, each in list(self._calls.items()):
            if each.step is None or not each.step.begun:
                self._story.forget_call(each.call)
                del self._calls[ident]
                if each.step is not None:
                    await each.step.drop()

    async def drop(self) -> None:
        """The attempt is over: leave everything as the journal has it."""
        for step in [self._message, *(each.step for each in self._calls.values())]:
            if step is not None:
                await step.drop()

    async def _take_call(self, update: Update) -> None:
        ident = str(update.update["toolCallId"])
        if ident in self._ended:
            return  # a word more on what has ended
        opened = self._calls.get(ident)
        if opened is None:
            await self.end_message()
            opened = self._calls[ident] = _Open(ToolCall(ident), None, asyncio.get_running_loop().time())
        opened.call.merge(update.update)
        if opened.step is None and opened.call.status != "pending":
            await self.open_announced(through=ident)
        if opened.step is None:
            return
        if not opened.call.ended:
            opened.step.show("custom", custom(update))
            return
        del self._calls[ident]
        failure = None
        if opened.call.status == "failed":
            failure = AgentFailed("tool_failed", opened.call.result_text or "the agent says that it failed")
        await self._end_call(opened, failure)

    async def _end_call(self, opened: _Open, failure: AgentFailed | None) -> None:
        assert opened.step is not None
        self._ended.add(opened.call.id)
        if failure is None:
            await opened.step.end(opened.call.result)
            self._story.ended_call(opened.call, opened.call.status, opened.call.result_text)
        else:
            await opened.step.fail(failure)
            self._story.ended_call(opened.call, "unknown" if failure.code == "unknown" else "failed", failure.message)

    # -- messages ----------------------------------------------------------------------------------------------------

    async def _show_text(self, update: Update) -> None:
        content = update.update.get("content")
        if update.kind == "agent_thought_chunk":
            (await self._in_message()).show("reasoning.delta", {"text": text_of(content)})
        elif isinstance(content, Mapping) and content.get("type") != "text":
            (await self._in_message()).show("custom", custom(update))
        else:
            await self.say(text_of(content))

    async def _in_message(self) -> OpenStep:
        """The open message; a new one where there is none, or the last is long."""
        if self._message is not None and self._chars >= _MESSAGE_CHARS_MAX:
            await self.end_message()
        if self._message is None:
            await self.open_announced()
            message = OpenStep(self._run, message_spec(self._story.messages + 1))
            try:
                await message.begin()
            except asyncio.CancelledError:
                await message.drop()
                raise
            self._message = message
        return self._message


async def settle_call(
    run: Run, name: str, call_id: str, call: ToolCall, *, outcome: Any, failure: AgentFailed | None, known: bool
) -> tuple[str, str]:
    """End a tool step that was begun before, or that nobody saw beginning. Returns its status and result.

    Args:
        run: the run.
        name: of the step.
        call_id: of the step.
        call: the call.
        outcome: its result, when there is no failure.
        failure: how it failed; or that nobody knows.
        known: the outcome is known, so that no policy is asked.

    Raises:
        AgentFailed: ``unknown_outcome``: the policy is that the run fails.
    """

    async def work() -> Any:
        if failure is not None:
            raise failure
        return outcome

    spec = keyed_spec("tool", name, call_id, shown=call.shown, told=OnUnknown.RETRY if known else None)
    try:
        result = await run.backend.step(spec, work)
    except AgentFailed as failed:
        if failure is None or failed.code != failure.code:
            raise  # the policy is that the run fails, or the journal refuses it
        return ("unknown" if failed.code in ("unknown", "run_again") else "failed"), failed.message
    if isinstance(result, Mapping):
        return str(result.get("status", "completed")), str(result.get("text", result))
    return "completed", str(result)


def custom(update: Update) -> Mapping[str, Any]:
    """The data of a ``custom`` event: an update as it came, named ``acp.<kind>``."""
    data = {key: value for key, value in update.update.items() if key != "sessionUpdate"}
    return {"name": f"acp.{update.kind}", "data": shortened(data)}
