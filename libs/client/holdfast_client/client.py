"""``Holdfast``: one gateway, or what stands before several, as a program calls it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, Self
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx2

from holdfast_client.answers import model_of
from holdfast_client.feed import FeedEvent, follow_feed
from holdfast_client.gateway import Gateway
from holdfast_client.lists import page_of
from holdfast_client.models import Agent, Message, Page, Pod, RunState, Thread
from holdfast_client.patience import OnLink, Patience
from holdfast_client.run import Run

URL_DEFAULT = "http://127.0.0.1:8080"


class Holdfast:
    """``async with Holdfast() as holdfast: run = await holdfast.submit("assistant", chat("Hello"))``.

    Args:
        url: the gateway; None: that of the environment's HOLDFAST_URL, else ``http://127.0.0.1:8080``.
        key: an API key; None: that of HOLDFAST_KEY, if there is one.
        timeout_s: of one request.
        patience_s: for how long a call is tried again whose answer got lost, while the gateway is away. One that is not safe to
            repeat is tried again only if surely nothing was done about it. 0: it is not.
        stream_patience_s: for how long a stream waits for a gateway that is away. One that was never there is an error at once.
        polling: follow runs by long polls, for programs behind a proxy that holds streams back. Such a proxy is also found out,
            after 25 s without a byte.
        transport: in place of connections of its own.

    Raises:
        NotAGateway: the URL is none.
        KeyNotUsable: the key cannot be sent.

    Every method raises :class:`Unreachable`, :class:`Refused` or :class:`NotAGateway` (``holdfast_client.errors``).
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 10.0,
        patience_s: float = 15.0,
        stream_patience_s: float = 300.0,
        polling: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._gateway = Gateway(
            url if url is not None else os.environ.get("HOLDFAST_URL") or URL_DEFAULT,
            key if key is not None else os.environ.get("HOLDFAST_KEY") or None,
            timeout_s=timeout_s,
            transport=transport,
        )
        self._patience_s = patience_s
        self._stream_patience_s = stream_patience_s
        self._polling = polling

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return self._gateway.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Runs go on."""
        await self._gateway.close()

    async def submit(
        self,
        agent: str,
        input: Any,
        *,
        thread: str | None = None,
        idempotency_key: str | None = None,
        on_busy: Literal["enqueue", "reject", "replace"] | None = None,
        on_owner_lost: Literal["resume", "interrupt", "fail"] | None = None,
        on_unknown: Literal["retry", "fail", "ask"] | None = None,
        max_crashes: int | None = None,
        idle_timeout_s: int | None = None,
        deadline_s: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhook: Mapping[str, Any] | None = None,
        on_link: OnLink | None = None,
    ) -> Run:
        """Submit a run. What is left None is the gateway's default.

        An answer that got lost is asked for again under the same key: one call never makes two runs.

        Args:
            agent: who is to do it.
            input: what the agent takes; of the built-in ones a chat: ``chat("Hello")``.
            thread: the conversation, made if there is none of that id; None: a new one.
            idempotency_key: 1 to 255 printable ASCII characters: a submit that is repeated with it, by another process too, is
                the same run. None: one is made up for this call.
            on_busy: the thread has an active run: ``enqueue`` behind it, ``reject``, or ``replace`` it.
            on_owner_lost: its runner was lost: ``resume`` elsewhere, ``interrupt`` it, or ``fail``.
            on_unknown: nobody knows whether a step was done: ``retry`` it, ``fail``, or ``ask``.
            max_crashes: it fails after so many lost runners without a step finished in between.
            idle_timeout_s: it fails after running for so long without progress.
            deadline_s: it fails so long after its submit, wherever it is then.
            metadata: yours; kept as it is.
            webhook: ``{"url", "secret", "events"?}``: is told of this run.
            on_link: is told why the gateway stays away, and None when it is back.

        Raises:
            Refused: ``unknown_agent``, ``invalid_input``, ``thread_busy``, ``idempotency_mismatch``, …
            Unreachable: also when the run may have been taken (``reached``).
            ValueError: ``idempotency_key`` is none.
        """
        optional = {
            "thread_id": thread,
            "on_busy": on_busy,
            "on_owner_lost": on_owner_lost,
            "on_unknown": on_unknown,
            "max_crashes": max_crashes,
            "idle_timeout_s": idle_timeout_s,
            "deadline_s": deadline_s,
            "metadata": metadata,
            "webhook": webhook,
        }
        body = {"agent": agent, "input": input, **{name: each for name, each in optional.items() if each is not None}}
        headers = {"Idempotency-Key": _usable(idempotency_key) if idempotency_key is not None else str(uuid4())}
        shown = await self._gateway.send(
            "POST", "/v1/runs", json=body, headers=headers, patience_s=self._patience_s, on_link=on_link
        )
        return self._run(model_of(RunState, shown, self.url))

    def run(self, run_id: str | UUID) -> Run:
        """A handle on a run. Asks nobody whether it is there."""
        return self._handle(run_id)

    async def runs(
        self,
        *,
        status: str | Sequence[str] = (),
        thread: str | None = None,
        agent: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[RunState]:
        """Runs, newest first; without ``status``, which is one or several, of any."""
        statuses = [status] if isinstance(status, str) else list(status)
        wanted = {"status": statuses or None, "thread": thread, "agent": agent, "limit": limit, "cursor": cursor}
        return await page_of(self._gateway, "/v1/runs", RunState, wanted, self._patience_s)

    async def agents(self) -> Page[Agent]:
        """The agents that live runners have loaded. All of them on one page."""
        return await page_of(self._gateway, "/v1/agents", Agent, {}, self._patience_s)

    async def pods(self) -> Page[Pod]:
        """The runners that are alive. All of them on one page."""
        return await page_of(self._gateway, "/v1/pods", Pod, {}, self._patience_s)

    async def threads(self, *, limit: int = 50, cursor: str | None = None) -> Page[Thread]:
        """Conversations, newest first."""
        return await page_of(self._gateway, "/v1/threads", Thread, {"limit": limit, "cursor": cursor}, self._patience_s)

    async def messages(self, thread: str, *, limit: int = 50, cursor: str | None = None) -> Page[Message]:
        """The durable transcript of a conversation, oldest first."""
        path = f"/v1/threads/{quote(thread, safe='')}/messages"
        return await page_of(self._gateway, path, Message, {"limit": limit, "cursor": cursor}, self._patience_s)

    async def feed(self, after: str | None = None, *, on_link: OnLink | None = None) -> AsyncGenerator[FeedEvent, None]:
        """Every change of your runs and of the pods, for ever: first a ``snapshot``, or what came after the cursor.

        Connects again where a connection broke. Keep the ``id`` of the last event that has one, to go on from there later.
        """
        patience = Patience(self._stream_patience_s, on_link)
        async with aclosing(follow_feed(self._gateway, after=after, patience=patience)) as events:
            async for event in events:
                yield event

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        patience_s: float | None = None,
    ) -> Any:
        """What has no method here: any call of the API, such as ``call("GET", "/v1/threads/chat-42/queue")``. Returns its JSON.

        ``patience_s`` is this call's; None: the usual one. Only a GET is tried again when its answer got lost.
        """
        if not path.startswith("/"):  # it would go to another host, and the key with it
            raise ValueError("a path begins with /")
        return await self._gateway.send(
            method,
            path,
            params=params,
            json=json,
            patience_s=self._patience_s if patience_s is None else patience_s,
            repeatable=method == "GET",
        )

    def _run(self, state: RunState) -> Run:
        return self._handle(state.id, state)

    def _handle(self, run_id: str | UUID, state: RunState | None = None) -> Run:
        return Run(
            self._gateway,
            run_id,
            patience_s=self._patience_s,
            stream_patience_s=self._stream_patience_s,
            polling=self._polling,
            state=state,
        )


def chat(text: str, *, role: str = "user") -> dict[str, Any]:
    """The input of an agent that takes a chat: one message."""
    return {"messages": [{"role": role, "content": text}]}


def _usable(key: str) -> str:
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable() and key == key.strip()):
        raise ValueError("an idempotency key is 1 to 255 printable ASCII characters, without blanks at its ends")
    return key
