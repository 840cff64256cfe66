"""The ends of many logs, in one question: which of them have moved on? For who hears them live, and may have missed something."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg

from holdfast.bus import names
from holdfast.bus.connection import translated
from holdfast.bus.hearing import hear
from holdfast.errors import BusUnavailable

AT_ONCE_MAX = 500
"""How many logs one question may be about. The server answers with 1,024 messages at the most."""
_BYTES_MAX = 1024 * 1024
_DIRECT_GET = f"$JS.API.DIRECT.GET.{names.EVENTS_STREAM}"
_SUBJECT_BEGINS = names.events_subject("")


@dataclass(slots=True)
class Ends:
    """What a server has of the logs that were asked for. It may be a replica that is behind, as with every direct get.

    ``seqs`` are their last messages, of those that have any behind the sequence that was asked for. ``upto`` is the last message
    of all logs: of one that is not in ``seqs`` there is nothing up to there. ``whole``: no log was left out for its size.
    """

    upto: int = 0
    seqs: dict[UUID, int] = field(default_factory=dict)
    whole: bool = False


async def look(client: Client, run_ids: Sequence[UUID], after_seq: int, *, timeout_s: float = 2.0) -> Ends:
    """Which of these logs have messages behind a stream sequence, and how far do they go? At most ``AT_ONCE_MAX`` of them.

    Raises:
        BusUnavailable: the server did not answer.
    """
    assert len(run_ids) <= AT_ONCE_MAX
    request = {
        "multi_last": [names.events_subject(run_id) for run_id in run_ids],
        "seq": after_seq + 1,
        "batch": len(run_ids),
        "max_bytes": _BYTES_MAX,
    }
    answer = _Answer()
    inbox = client.new_inbox()
    subscription = await hear(client, inbox, answer.take)
    with translated():
        try:
            await client.publish(_DIRECT_GET, json.dumps(request).encode(), reply=inbox)
            async with asyncio.timeout(timeout_s):
                await answer.over.wait()
        finally:
            await subscription.unsubscribe()
    if answer.refused is not None:
        raise BusUnavailable(f"the event log answered {answer.refused}")
    return answer.ends


class _Answer:
    """Messages of an answer: the logs' last ones, and a status, which is the end of it."""

    def __init__(self) -> None:
        self.ends = Ends()
        self.over = asyncio.Event()
        self.refused: str | None = None

    def take(self, message: Msg) -> None:
        """The next one."""
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            run_id = UUID(headers["Nats-Subject"].removeprefix(_SUBJECT_BEGINS))
            self.ends.seqs[run_id] = int(headers["Nats-Sequence"])
            return
        if status == "204":
            self.ends.upto = int(headers.get("Nats-UpTo-Sequence", "0"))
            self.ends.whole = headers.get("Nats-Num-Pending", "0") == "0"
        elif status == "404":  # none of them has any message
            self.ends.whole = True
        else:
            self.refused = status
        self.over.set()
