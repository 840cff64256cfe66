"""Holdfast for programs that call it: submit a run, follow it, answer it.

    async with Holdfast() as holdfast:
        run = await holdfast.submit("assistant", chat("Hello"))
        async for event in run.events():
            print(event.type, event.data)
        print(await run.result())

A stream connects again by itself where it stopped; a submit whose answer got lost is never two runs. ``holdfast_client.sync`` has
the same for programs without an event loop. Of Holdfast's other parts this imports ``holdfast.runs`` and ``holdfast.wire`` alone.
"""

from holdfast.runs import EventId, Fold
from holdfast.wire.events import Event
from holdfast_client.client import Holdfast, chat
from holdfast_client.errors import (
    HoldfastClientError,
    KeyNotUsable,
    KeyRefused,
    NotAGateway,
    NotFound,
    Refused,
    RunCancelled,
    RunFailed,
    RunInterrupted,
    RunWaiting,
    Unreachable,
)
from holdfast_client.feed import FeedEvent
from holdfast_client.models import Agent, Attempt, ErrorShown, Message, Page, Pod, RunState, Step, Thread, Wait
from holdfast_client.run import Run
from holdfast_client.transcript import Transcript

__all__ = [
    "Agent",
    "Attempt",
    "ErrorShown",
    "Event",
    "EventId",
    "FeedEvent",
    "Fold",
    "Holdfast",
    "HoldfastClientError",
    "KeyNotUsable",
    "KeyRefused",
    "Message",
    "NotAGateway",
    "NotFound",
    "Page",
    "Pod",
    "Refused",
    "Run",
    "RunCancelled",
    "RunFailed",
    "RunInterrupted",
    "RunState",
    "RunWaiting",
    "Step",
    "Thread",
    "Transcript",
    "Unreachable",
    "Wait",
    "chat",
]
