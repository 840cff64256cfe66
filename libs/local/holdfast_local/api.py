"""The native API as a command calls it: requests, and a run's event stream that outlives the gateway it came from.

Shows nothing to anybody. A gateway that was never reached is an error at once; one that was there before is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx2
from pydantic_core import from_json

from holdfast.runs import TERMINAL, EventId, Status
from holdfast.runs.fold import ENDING_TYPES
from holdfast.wire.events import Event
from holdfast_local.answers import Away, KeyNotUsable, NoGateway, NotAGateway, check, json_of
from holdfast_local.patience import OnLink, Patience
from holdfast_local.where import THIS_MACHINE

_SUBMIT_PATIENCE_S = 15.0
_STREAM_PATIENCE_S = 300.0
_REQUEST_TIMEOUT = httpx2.Timeout(10.0, connect=3.0)  # a gateway answers within 5 s, whatever is away behind it
_STREAM_TIMEOUT = httpx2.Timeout(10.0, connect=3.0, read=25.0)  # a keepalive comes every 10 s
_EMPTY_STREAM_PAUSE_S = 1.0
_EVENT_BYTES_MAX = 64 * 1024 * 1024  # a snapshot carries every step's output
_PAGE_MAX = 200

ENDED = frozenset(status.value for status in TERMINAL | {Status.INTERRUPTED})
"""The statuses in which a run's stream has an end."""


class Gateway:
    """``async with Gateway(url, key) as gateway``: one gateway, or what stands before several.

    Making one raises :class:`NotAGateway` or :class:`KeyNotUsable` when the URL or the key cannot be one; every method raises
    :class:`NoGateway`, :class:`NotAGateway` or :class:`ApiRefused` (``answers``), in words for the user.
    """

    def __init__(self, url: str, key: str | None, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        host = _host(self.url)
        if key:
            _refuse_unsendable(key)
        self._has_key = bool(key)
        self._was_there = False
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else None,
            timeout=_REQUEST_TIMEOUT,
            transport=transport,
            trust_env=host not in THIS_MACHINE,  # no proxy is asked for what is on this machine
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a path."""
        return await self._once("GET", path, params=params)

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run."""
        return dict(await self.get(f"/v1/runs/{run_id}"))

    async def items(self, path: str, params: Mapping[str, Any] | None = None, *, limit: int) -> list[dict[str, Any]]:
        """The first ``limit`` items of a list, over as many pages as that takes."""
        items: list[dict[str, Any]] = []
        cursor = None
        while len(items) < limit:
            wanted = {"limit": min(_PAGE_MAX, limit - len(items)), **({"cursor": cursor} if cursor else {})}
            page = await self.get(path, {**(params or {}), **wanted})
            items += page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        return items[:limit]

    async def runs(
        self, *, statuses: Sequence[str] = (), agent: str | None = None, thread: str | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """Runs, newest first; without ``statuses`` of any."""
        wanted = {"status": list(statuses), "agent": agent, "thread": thread}
        return await self.items("/v1/runs", {name: value for name, value in wanted.items() if value}, limit=limit)

    async def cancel(self, run_id: str) -> dict[str, Any]:
        """Cancel a run. Returns it: still ``running`` when its owner is yet to end it."""
        return dict(await self._once("POST", f"/v1/runs/{run_id}/cancel"))

    async def answer(self, run_id: str, question_id: str, answer: Any) -> dict[str, Any]:
        """Answer a question of a run, once. Returns the run."""
        body = {"question_id": question_id, "answer": answer}
        return dict(await self._once("POST", f"/v1/runs/{run_id}/answer", json=body))

    async def resume(self, run_id: str) -> dict[str, Any]:
        """Let an interrupted run go on. Returns it."""
        return dict(await self._once("POST", f"/v1/runs/{run_id}/resume"))

    async def fork(
        self, run_id: str, *, from_position: str | None = None, thread_id: str | None = None
    ) -> dict[str, Any]:
        """Make a new run from an ended or interrupted one. Returns the new one."""
        wanted = {"from_position": from_position, "thread_id": thread_id}
        body = {name: value for name, value in wanted.items() if value is not None}
        try:
            return dict(json_of(await self._try("POST", f"/v1/runs/{run_id}/fork", json=body)))
        except Away as away:
            maybe = "; it may have been made: see `holdfast ps`" if away.reached else ""
            raise NoGateway(f"{away}{maybe}") from away

    async def queue(self, thread_id: str, *, limit: int) -> list[dict[str, Any]]:
        """The queued runs of a thread, in order."""
        return await self.items(_queue(thread_id), limit=limit)

    async def edit_queued(self, thread_id: str, run_id: str, run_input: Any) -> dict[str, Any]:
        """Change the input of a queued run. Returns it."""
        return dict(await self._once("PATCH", f"{_queue(thread_id)}/{run_id}", json={"input": run_input}))

    async def remove_queued(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Take a queued run out of its queue: it is cancelled. Returns it."""
        return dict(await self._once("DELETE", f"{_queue(thread_id)}/{run_id}"))

    async def put_first(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Put a queued run before the others of its thread. Returns it."""
        return dict(await self._once("POST", f"{_queue(thread_id)}/{run_id}/now"))

    async def submit(
        self,
        *,
        agent: str,
        run_input: Any,
        thread_id: str | None = None,
        policies: Mapping[str, Any] | None = None,
        on_link: OnLink | None = None,
    ) -> dict[str, Any]:
        """Submit a run, on a thread that is made when there is none of that id. Returns the run.

        ``policies`` are further fields of the request, such as ``deadline_s``. An answer that got lost is asked for again under
        the same Idempotency-Key, for some seconds: one call never makes two runs.
        """
        thread = {"thread_id": thread_id} if thread_id is not None else {}
        body = {"agent": agent, "input": run_input, **thread, **(policies or {})}
        headers = {"Idempotency-Key": str(uuid4())}
        patience = Patience(_SUBMIT_PATIENCE_S, on_link)
        while True:
            try:
                answer = await self._try("POST", "/v1/runs", json=body, headers=headers)
            except Away as away:
                await self._wait(patience, away, "it may have taken the run: see `holdfast ps`")
            else:
                patience.back()
                return dict(json_of(answer))

    async def follow(
        self, run_id: str, *, after: EventId | None = None, on_link: OnLink | None = None
    ) -> AsyncGenerator[Event, None]:
        """Every event of a run after ``after``, once and in order, to the end of its stream.

        Reconnects where it stopped. A run that has ended and has no event after ``after`` gives none.
        """
        patience = Patience(_STREAM_PATIENCE_S, on_link)
        last, ended, record_ended = after, False, False
        while True:
            came = False
            try:
                async with aclosing(self._connection(run_id, last, patience)) as events:
                    async for event in events:
                        if last is None or event.id > last:
                            came, last, ended = True, event.id, event.type in ENDING_TYPES
                            yield event
                # A clean end is the run's own end after its last event, or when a connection that was made after the
                # record had said so brought nothing more; a proxy may end a stream cleanly at any time.
                if ended or (record_ended and not came):
                    return
                record_ended = (await self._try("GET", f"/v1/runs/{run_id}")).json()["status"] in ENDED
                if not (came or record_ended):
                    await asyncio.sleep(_EMPTY_STREAM_PAUSE_S)
            except Away as away:
                await self._wait(patience, away, f"the run goes on: `holdfast tail {run_id}`")

    async def _connection(self, run_id: str, last: EventId | None, patience: Patience) -> AsyncGenerator[Event, None]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(last)} if last is not None else {})}
        url = f"{self.url}/v1/runs/{run_id}/events"
        try:
            async with self._client.stream("GET", url, headers=headers, timeout=_STREAM_TIMEOUT) as answer:
                self._was_there = True
                if not answer.is_success:
                    await answer.aread()
                check(answer, self.url, has_key=self._has_key)
                patience.back()
                async for frame in httpx2.EventSource(answer, max_event_size=_EVENT_BYTES_MAX):
                    if frame.data:
                        yield Event(EventId.parse(frame.id), frame.event, from_json(frame.data))
        except (httpx2.SSEError, ValueError) as error:
            raise NotAGateway(f"{self.url} does not stream as Holdfast does: {error}") from error
        except httpx2.TransportError as error:
            away = Away.because(error, self.url)
            self._was_there = self._was_there or away.reached
            raise away from error

    async def _once(self, method: str, path: str, **options: Any) -> Any:
        try:
            return json_of(await self._try(method, path, **options))
        except Away as away:
            raise NoGateway(str(away)) from away

    async def _wait(self, patience: Patience, away: Away, what_now: str) -> None:
        if not self._was_there:
            raise NoGateway(str(away)) from away
        if not await patience.pause(str(away), at_least_s=away.retry_after_s):
            raise NoGateway(f"{away}; gave up after {patience.limit_s:g} s; {what_now}") from away

    async def _try(self, method: str, path: str, **options: Any) -> httpx2.Response:
        try:
            answer = await self._client.request(method, self.url + path, **options)
        except httpx2.TransportError as error:
            away = Away.because(error, self.url)
            self._was_there = self._was_there or away.reached
            raise away from error
        self._was_there = True
        check(answer, self.url, has_key=self._has_key)
        return answer


def _queue(thread_id: str) -> str:
    return f"/v1/threads/{quote(thread_id, safe='')}/queue"


def _host(url: str) -> str:
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise NotAGateway(f"{url!r} is not the URL of a gateway, such as http://127.0.0.1:8080")
    return parts.host


def _refuse_unsendable(key: str) -> None:
    """What a header cannot carry is found here, and not by a gateway that hangs up. The key itself is not shown."""
    if not all("!" <= character <= "~" for character in key):
        raise KeyNotUsable(
            "the API key of --key or HOLDFAST_KEY has a space, a line break or another character that no key has: "
            "give it as `holdfast keys create` printed it"
        )
