"""Publishing to a stream, and waiting for its word that the message is there.

What the client's own ``JetStreamContext.publish`` does, for half its computing: one subscription takes a connection's answers,
told apart by a number, where that makes a context, a random token and a parsed answer of each message. Every event goes by here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from functools import partial
from weakref import WeakKeyDictionary

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, NoStreamResponseError

_NO_RESPONDERS = "503"


class _Answers:
    """Those that one connection waits for, by number."""

    def __init__(self, client: Client) -> None:
        self.inbox = client.new_inbox()
        self.numbers = itertools.count(1)
        self.awaited: dict[str, asyncio.Future[Msg]] = {}
        self.listening = asyncio.ensure_future(self._listen(client))

    async def _listen(self, client: Client) -> None:  # its outcome must not hold the connection, as a subscription does
        await client.subscribe(f"{self.inbox}.*", cb=self._take)

    async def _take(self, message: Msg) -> None:
        answer = self.awaited.pop(message.subject.rpartition(".")[2], None)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def give_up(self, number: str) -> None:
        """Its time is up."""
        answer = self.awaited.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_exception(nats.errors.TimeoutError())


_answers: WeakKeyDictionary[Client, _Answers] = WeakKeyDictionary()


async def publish(
    client: Client, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None, timeout_s: float
) -> int:
    """Returns the message's sequence in the stream.

    Raises:
        nats.js.errors.APIError: the stream refuses it (``err_code`` says why).
        nats.errors.Error: whether it is there is not known.
    """
    answers = _answers.get(client)
    if answers is None or (answers.listening.done() and answers.listening.exception() is not None):
        answers = _answers[client] = _Answers(client)
    if not answers.listening.done():
        await asyncio.shield(answers.listening)
    loop = asyncio.get_running_loop()
    number = str(next(answers.numbers))
    answer: asyncio.Future[Msg] = loop.create_future()
    answers.awaited[number] = answer
    late = loop.call_later(timeout_s, partial(answers.give_up, number))
    try:
        await client.publish(subject, payload, reply=f"{answers.inbox}.{number}", headers=dict(headers or {}) or None)
        message = await answer
    finally:
        late.cancel()
        answers.awaited.pop(number, None)
    if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
        raise NoStreamResponseError
    said = json.loads(message.data)
    if "error" in said:
        raise APIError.from_error(said["error"])
    return int(said["seq"])
