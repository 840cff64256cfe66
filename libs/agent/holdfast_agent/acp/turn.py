"""One turn of a child: a prompt is sent, what comes of it is written down, until the turn ends or waits for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from holdfast.errors import AgentFailed
from holdfast_agent.acp.child import Answered, Child
from holdfast_agent.acp.open_step import OpenStep
from holdfast_agent.acp.permission import choose, request_of
from holdfast_agent.acp.scribe import UNKNOWN, UNSAID, Scribe, custom
from holdfast_agent.acp.story import CUT, PERMISSION, Story, as_recorded, turn_spec
from holdfast_agent.acp.transport import Asked, Closed, Update
from holdfast_agent.acp.updates import ToolCall
from holdfast_agent.run import Run

_STALL_S = 3.0
"""How long a child may act while what it does cannot be journalled: its runner drains, or the record is away."""


class _Stalled(Exception):
    """Nothing can be journalled at present."""


class Turn:
    """See the module.

    Args:
        run: the run.
        story: its story so far; the turn goes on with it.
        child: with a session.
        permissions: ``ask``, ``allow`` or ``deny``.
        silence_timeout_s: how long the child may say nothing.
    """

    def __init__(self, run: Run, story: Story, child: Child, *, permissions: str, silence_timeout_s: float) -> None:
        self._run = run
        self._story = story
        self._child = child
        self._permissions = permissions
        self._silence_s = silence_timeout_s
        self._scribe = Scribe(run, story)
        self._held: list[tuple[ToolCall, Asked]] = []
        self._step: OpenStep | None = None
        self._listening_since = 0.0

    async def go(self, prompt: str) -> None:
        """The whole turn: its end is in the story. A child whose turn waits for a person is to be stopped.

        Raises:
            AgentFailed: ``agent_exited``, ``silent``, ``acp_error``, ``auth_required``, ``refusal``, ``agent_cancelled``.
        """
        self._step = OpenStep(self._run, turn_spec(self._story.turns + 1, prompt), lambda: self._child.prompt(prompt))
        try:
            await self._step.begin()
            self._story.began_turn(prompt)
            try:
                answered = await self._listen()
            except _Stalled:
                await self._cut()
                return
            await self._finish(answered)
        finally:
            # Only what an attempt leaves open is dropped here: a step that has ended is left alone by this.
            await self._scribe.drop()
            await self._step.drop()

    async def _cut(self) -> None:
        """Stop a child that nobody can keep a journal of. Another one goes on from there, here or elsewhere."""
        assert self._step is not None
        await self._child.stop()
        await self._scribe.drop_unbegun()
        await self._scribe.end_message()
        await self._scribe.end_calls()
        self._story.ended_turn(await self._step.end({"outcome": CUT, "sent": True}))

    async def _finish(self, answered: Answered | None) -> None:
        assert self._step is not None
        await self._scribe.end_message()
        await self._scribe.end_calls(UNKNOWN if answered is None else UNSAID)
        if answered is None:
            call, asked = self._held[0]
            output: Mapping[str, Any] = {
                "outcome": PERMISSION,
                "request": as_recorded(request_of(call, asked.options)),
                "asked": [each.id for each, _ in self._held],
                "items": len(self._story.sittings[-1].items),
            }
        elif (failure := self._failure_of(answered)) is not None:
            await self._fail(failure)
        else:
            items = len(self._story.sittings[-1].items)
            output = {"outcome": "ended", "stop_reason": answered.stop_reason, "items": items}
        # A child that asks waits: it is stopped when its turn is in the journal, so that how it takes that is part of no turn.
        self._story.ended_turn(await self._step.end(output))

    def _failure_of(self, answered: Answered) -> AgentFailed | None:
        if answered.error is not None:
            return self._child.refusal("session/prompt", answered.error)
        if answered.stop_reason == "refusal":
            return AgentFailed("refusal", "the agent refuses to go on")
        if answered.stop_reason == "cancelled":
            return AgentFailed(
                "agent_cancelled", "the agent says that its turn was cancelled, and nobody here did that"
            )
        return None

    async def _fail(self, failure: AgentFailed) -> None:
        """End what is open, the turn as failed."""
        assert self._step is not None
        await self._scribe.end_message()
        await self._scribe.end_calls()
        await self._step.fail(failure)
        raise failure

    # -- listening ---------------------------------------------------------------------------------------------------

    async def _listen(self) -> Answered | None:
        """Until the turn has ended; None: it waits for a person, and nothing else goes on."""
        while True:
            if self._held and not self._scribe.working:
                return None
            due = self._scribe.due_in_s
            patience_s = max(self._silence_s - self._silent_s, 0.01)
            heard = await self._child.hear(min(due if due is not None else patience_s, patience_s))
            match heard:
                case Update():
                    await self._journalled(self._update(heard))
                case Asked():
                    await self._journalled(self._asked(heard))
                case Answered():
                    return heard
                case Closed():
                    await self._fail(await self._child.gone(heard))
                case None:
                    await self._journalled(self._quiet())

    @property
    def _silent_s(self) -> float:
        """For how long nothing came. While the journal is waited for, the child is not listened to."""
        return asyncio.get_running_loop().time() - max(self._child.heard_at, self._listening_since)

    async def _journalled(self, writing: Coroutine[Any, Any, None]) -> None:
        """Wait for the journal; not for long while the child acts, unless with calls that it has already.

        Raises:
            _Stalled: the journal takes nothing.
        """
        task = asyncio.create_task(writing)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_STALL_S)
                if not task.done() and not self._scribe.journalled_work:
                    raise _Stalled
            task.result()
            self._listening_since = asyncio.get_running_loop().time()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _update(self, update: Update) -> None:
        assert self._step is not None
        if update.session_id != self._child.session_id:
            return
        if not await self._scribe.take(update):
            self._step.show("custom", custom(update))

    async def _quiet(self) -> None:
        """Nothing came: a call that was announced may be due, or the child has been silent for too long."""
        if self._silent_s >= self._silence_s:
            message = f"the agent has said nothing for {self._silence_s:g} s"
            await self._fail(AgentFailed("silent", message, retryable=True))
        if self._scribe.due_in_s == 0.0:
            await self._scribe.open_announced()

    async def _asked(self, asked: Asked) -> None:
        """A permission request. A call that is allowed is journalled first: no pod dies in one that nobody knows of."""
        call = self._scribe.asked_for(asked.tool_call)
        permission = self._story.permission_for(call)
        if permission is None and self._permissions == "ask":
            await self._scribe.hold(call)
            self._held.append((call, asked))
            return
        if permission is not None:
            approved, option = permission.approved, permission.option_id
        else:
            approved = self._permissions == "allow"
            option = choose(request_of(call, asked.options)["options"], approved=approved)
        if permission is not None and option not in {each.get("optionId") for each in asked.options}:
            option = choose(request_of(call, asked.options)["options"], approved=approved)
        if approved and option is not None:
            await self._scribe.allow(call, permission)
        if permission is not None and not approved:
            permission.use(call)
        if permission is not None and permission.given:
            permission.answered = True  # a second request of the same call is another question
        await self._child.permit(asked, option)
