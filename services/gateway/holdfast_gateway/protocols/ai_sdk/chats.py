"""Chats: which run a chat's id stands for, and what a post makes of it: a new run, an answer, the last answer given anew."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from holdfast.errors import NotFound, Refused
from holdfast.logs import get_logger
from holdfast.runs import TERMINAL, OnBusy, OnOwnerLost
from holdfast.store import RunRow, WaitRow, stranger
from holdfast.store import caller as record
from holdfast_gateway.answering import answer
from holdfast_gateway.auth import Caller
from holdfast_gateway.following import tail_row, wait_for_end
from holdfast_gateway.http.wanted import THREAD_ID_PATTERN
from holdfast_gateway.ids import new_id
from holdfast_gateway.parts import Parts
from holdfast_gateway.picture import RunGone
from holdfast_gateway.protocols.ai_sdk.asking import ChatPost, UIMessage, answers_in, input_of, unfit
from holdfast_gateway.protocols.ai_sdk.fold import ALL, Fold
from holdfast_gateway.submitting import Wanted, fingerprint_of, submit

log = get_logger(__name__)
METADATA_KEY = "ai_sdk"
"""Under this key a run's metadata holds ``{"message_id": …}``, the user's message that it answers."""
_RUN_ID = re.compile(
    r"(?P<run>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"(\.(?P<after>[1-9][0-9]{0,8})(-(?P<through>[1-9][0-9]{0,8}))?)?"
)
_RUNS_LOOKED_AT_MAX = 200
_CANCEL_WAIT_S = 15.0
_PERSONS = frozenset({"ask", "unknown"})


@dataclass(frozen=True, slots=True)
class Segment:
    """What a stream shows: a run from its beginning, or what follows the answers to what attempt ``after`` asked.

    ``through``: what attempts up to this one asked was answered meanwhile, and does not end it.
    """

    run: RunRow
    after: int = 0
    through: int = 0

    @property
    def name(self) -> str:
        """The ``x-workflow-run-id`` by which the client comes back to just this stream."""
        if not self.after:
            return str(self.run.id)
        further = f"-{self.through}" if self.through > self.after else ""
        return f"{self.run.id}.{self.after}{further}"

    def fold(self) -> Fold:
        """A fresh fold for it."""
        return Fold(str(self.run.id), after=self.after, through=self.through)


async def named(parts: Parts, caller: Caller, ident: str, *, also_ended: bool) -> Segment | None:
    """What the id of a chat, of a run or of a segment (``<run id>.<attempt>``) stands for. None: nothing to follow.

    Args:
        parts: the gateway's.
        caller: who asks.
        ident: the id.
        also_ended: of a chat in which nothing goes on, take the newest run.
    """
    match = _RUN_ID.fullmatch(ident)
    if match is not None:
        with contextlib.suppress(NotFound):
            run = await record.run(parts.record.db, caller.tenant_id, UUID(match["run"]))
            return Segment(run, int(match["after"] or 0), int(match["through"] or 0))
    run_of_chat = await going_on(parts, caller, ident)
    if run_of_chat is None and also_ended:
        run_of_chat = next(iter(await _newest(parts, caller, ident, 1)), None)
    return Segment(run_of_chat, through=ALL) if run_of_chat is not None else None


async def going_on(parts: Parts, caller: Caller, thread_id: str) -> RunRow | None:
    """What goes on in a chat: the run that runs or waits, else the first of the queue, else one that was interrupted."""
    active = await record.active_runs(parts.record.db, caller.tenant_id, thread_id)
    ranked = sorted(active, key=lambda run: {"running": 0, "waiting": 0, "queued": 1}.get(run.status, 2))
    return ranked[0] if ranked else None


async def _newest(parts: Parts, caller: Caller, thread_id: str, limit: int) -> list[RunRow]:
    return await record.runs(
        parts.record.db, caller.tenant_id, before=None, statuses=None, thread_id=thread_id, agent=None, limit=limit
    )


def message_id_of(run: RunRow) -> str | None:
    """The user's message that a run answers, if it came by this protocol."""
    said = run.metadata.get(METADATA_KEY)
    return said.get("message_id") if isinstance(said, dict) else None


# -- posts -------------------------------------------------------------------------------------------------------------


async def post(parts: Parts, caller: Caller, wanted: ChatPost) -> Segment:
    """Do what a post asks for.

    Raises:
        UnknownAgent, InvalidInput, InvalidAnswer: the request cannot be right.
        NotFound, Refused: the chat's state does not allow this.
        StoreUnavailable: the record is away.
    """
    thread_id = wanted.id or wanted.messages[0].id
    if not re.fullmatch(THREAD_ID_PATTERN, thread_id):
        raise unfit(
            f"without an id of its own the chat is named by its first message, and {thread_id!r} cannot be a thread's id"
        )
    message = wanted.answering
    if message is not None:
        return await _answer(parts, caller, thread_id, message)
    if wanted.last.role != "user":
        raise unfit("the last message is not the user's: there is nothing to answer")
    if wanted.trigger == "regenerate-message":
        again = await _regenerate(parts, caller, thread_id, wanted)
        if again is not None:
            return again
    return await _submit(parts, caller, thread_id, wanted)


async def _submit(parts: Parts, caller: Caller, thread_id: str, wanted: ChatPost) -> Segment:
    message = wanted.last
    agent = await parts.agents.find(wanted.agent or parts.settings.ai_sdk_agent)
    asked = input_of(message, agent.input_schema)
    if wanted.on_busy is None:
        await _refuse_to_pass_by(parts, caller, thread_id, message)
    telling = {"agent": agent.name, "input": asked, "on_busy": wanted.on_busy}
    submitted = await submit(
        parts,
        Wanted(
            tenant_id=caller.tenant_id,
            thread_id=thread_id,
            make_thread=True,
            agent=agent.name,
            input=asked,
            metadata={METADATA_KEY: {"message_id": message.id}},
            on_busy=wanted.on_busy or OnBusy.ENQUEUE,
            on_owner_lost=OnOwnerLost.RESUME,
            on_unknown=None,
            max_crashes=5,
            idle_timeout_s=600,
            deadline_s=None,
            idempotency_key=_key_of(thread_id, message),
            fingerprint=fingerprint_of(f"/ai-sdk/chat/{thread_id}", telling),
        ),
    )
    return Segment(submitted.run)


def _key_of(thread_id: str, message: UIMessage) -> str:
    """The idempotency key of a message, however long its id is."""
    return f"ai-sdk {hashlib.sha256(f'{thread_id} {message.id}'.encode()).hexdigest()}"


async def _refuse_to_pass_by(parts: Parts, caller: Caller, thread_id: str, message: UIMessage) -> None:
    """A message behind a run that waits for a person would wait for the same person, who sees no answer and no question. One that
    was said before has its run already."""
    for run in await record.active_runs(parts.record.db, caller.tenant_id, thread_id):
        if run.status == "waiting" and message_id_of(run) != message.id and await _open_questions(parts, run):
            runs = await _newest(parts, caller, thread_id, _RUNS_LOOKED_AT_MAX)
            if any(message_id_of(each) == message.id for each in runs):
                return
            raise Refused(
                "chat_waits",
                f"run {run.id} of this chat waits for an answer: answer it, stop the chat, or post with on_busy 'replace'",
            )


async def _open_questions(parts: Parts, run: RunRow) -> list[WaitRow]:
    waits = (await record.waits(parts.record.db, [run.id])).get(run.id, [])
    return [wait for wait in waits if wait.kind in _PERSONS]


async def _answer(parts: Parts, caller: Caller, thread_id: str, message: UIMessage) -> Segment:
    """Answer what a message of the assistant asked, as the client has filled it in."""
    run = await _run_of(parts, caller, thread_id, message)
    given = [
        (wait, said)
        for wait in await _open_questions(parts, run)
        for said in answers_in(message, wait.id, wait.question)
    ]
    if not given:
        raise Refused(
            "nothing_answered",
            f"run {run.id} is {run.status}, and this message answers nothing that it asks: say something as the user, or"
            " regenerate the answer",
        )
    for wait, said in given:
        await answer(parts, caller.tenant_id, run.id, wait.id, said)
    seen = message.seen_attempt
    after = seen if seen is not None and seen <= run.attempt else run.attempt
    # After the first of several answers the run may have gone on, and have asked for the others once more.
    now = await record.run(parts.record.db, caller.tenant_id, run.id)
    return Segment(now, after=after, through=now.attempt)


async def _run_of(parts: Parts, caller: Caller, thread_id: str, message: UIMessage) -> RunRow:
    """The run whose answer a message is. Its id is the run's; a page that gives ids of its own means what waits in the chat."""
    if _RUN_ID.fullmatch(message.id):
        with contextlib.suppress(NotFound):
            run = await record.run(parts.record.db, caller.tenant_id, UUID(message.id.partition(".")[0]))
            if run.thread_id == thread_id:
                return run
    for run in await record.active_runs(parts.record.db, caller.tenant_id, thread_id):
        if run.status == "waiting":
            return run
    raise Refused("nothing_answered", "no run of this chat waits for an answer")


async def _regenerate(parts: Parts, caller: Caller, thread_id: str, wanted: ChatPost) -> Segment | None:
    """Answer the user's last message once more: a fork from the first step, which takes the answer's place in the transcript.

    None: the message was never answered, nor is it about to be.
    """
    runs = await _newest(parts, caller, thread_id, _RUNS_LOOKED_AT_MAX)
    answers = _answers_to(wanted, runs)
    if not answers:
        return None
    active = [run for run in answers if run.status not in TERMINAL and run.status != "interrupted"]
    for run in active:
        await _end(parts, caller, run)
    known = {run.id for run in runs}
    if active:
        runs = await _newest(parts, caller, thread_id, _RUNS_LOOKED_AT_MAX)
        answers = _answers_to(wanted, runs)
        if not answers or answers[0].id not in known:
            return Segment(answers[0]) if answers else None
    # One that was given up in the queue has no place in the transcript, which another one could take.
    run = next((run for run in answers if run.claimed_at is not None), answers[0])
    first = await record.steps_page(parts.record.db, run.id, after="-1", limit=1)
    ident = new_id()
    row = await record.fork(
        parts.record.db,
        caller.tenant_id,
        run.id,
        new_id=ident,
        from_position=first[0].position if first else None,
        thread_id=None,
        known=known,
    )
    if row.id == ident:
        log.info("run.regenerated", run_id=str(row.id), forked_from=str(run.id))
        active = await record.active_runs(parts.record.db, row.tenant_id, row.thread_id)
        await parts.announcer.forked(row, sum(each.status != "interrupted" for each in active))
    return Segment(row)


def _answers_to(wanted: ChatPost, runs: Sequence[RunRow]) -> list[RunRow]:
    """Of a chat's runs, newest first, those that answer the message which is to be answered anew.

    Raises:
        Refused: ``not_the_last_answer``.
    """
    said_by = wanted.last.id.partition(":")[0]
    ids = {run.id for run in runs if message_id_of(run) == wanted.last.id or str(run.id) == said_by}
    ids = ids or {run.id for run in runs if str(run.id) == wanted.message_id}
    for run in reversed(runs):
        if run.forked_from in ids:
            ids.add(run.id)
    later = [run for run in runs if run.claimed_at is not None or run.status not in TERMINAL]
    if ids and later and later[0].id not in ids and later[0].id > max(ids):
        raise Refused(
            "not_the_last_answer",
            f"run {later[0].id} came after run {max(ids)}: only the last answer can be given anew",
        )
    return [run for run in runs if run.id in ids]


async def _end(parts: Parts, caller: Caller, run: RunRow) -> None:
    """Cancel a run, and wait for its end.

    Raises:
        Refused: ``run_active``: it does not end.
    """
    await stop(parts, caller, run)
    with contextlib.suppress(TimeoutError, RunGone):
        async with asyncio.timeout(_CANCEL_WAIT_S):
            await wait_for_end(parts.tails, await tail_row(parts.tails, run))
            return
    raise Refused("run_active", f"run {run.id} has been asked to end and has not ended yet: ask again")


async def stop(parts: Parts, caller: Caller, run: RunRow) -> bool:
    """Cancel a run. False: it has ended already."""
    ended = await stranger.cancel(parts.record.db, caller.tenant_id, run.id)
    if ended is not None:
        await parts.announcer.ended(ended, run.run_owner_pod)
    return ended is not None
