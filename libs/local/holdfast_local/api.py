"""What a command asks of a gateway: ``holdfast_client``, with JSON as it came and errors in words for the user.

Shows nothing to anybody. A gateway that was never reached is an error at once; for a submit and a stream, one that was there
before is waited for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import Any, Self
from urllib.parse import quote

import httpx2

from holdfast.runs import EventId
from holdfast.wire.events import Event
from holdfast_client import Holdfast, Unreachable
from holdfast_local.answers import NotAGateway, in_words, why_away

OnLink = Callable[[str | None], None]
"""Told why a gateway stays away, and None when it is back."""

_SUBMIT_PATIENCE_S = 15.0
_STREAM_PATIENCE_S = 300.0
_PAGE_MAX = 200


class Gateway:
    """``async with Gateway(url, key) as gateway``: one gateway, or what stands before several.

    Making one raises :class:`NotAGateway` or :class:`KeyNotUsable` when the URL or the key cannot be one; every method raises
    :class:`NoGateway`, :class:`NotAGateway` or :class:`ApiRefused` (``answers``), in words for the user.
    """

    def __init__(self, url: str, key: str | None, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._has_key = bool(key)
        with in_words(url, has_key=self._has_key):
            self._holdfast = Holdfast(
                url,
                key or "",
                patience_s=_SUBMIT_PATIENCE_S,
                stream_patience_s=_STREAM_PATIENCE_S,
                transport=transport,
            )
        self.url = self._holdfast.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._holdfast.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        after_reaching: str | None = None,
    ) -> Any:
        """The JSON that a path answers, None when it has none; asked for once. ``after_reaching`` is told when it may be done."""
        with self._in_words(after_reaching=after_reaching):
            return await self._holdfast.call(method, path, params=params, json=json, patience_s=0)

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a path."""
        return await self.send("GET", path, params=params)

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run."""
        return self._run(await self.get(f"/v1/runs/{run_id}"))

    async def items(self, path: str, params: Mapping[str, Any] | None = None, *, limit: int) -> list[dict[str, Any]]:
        """The first ``limit`` items of a list, over as many pages as that takes."""
        items: list[dict[str, Any]] = []
        cursor = None
        while len(items) < limit:
            wanted = {"limit": min(_PAGE_MAX, limit - len(items)), **({"cursor": cursor} if cursor else {})}
            match await self.get(path, {**(params or {}), **wanted}):
                case {"items": list() as more, **page}:
                    items += more
                case _:
                    raise self._odd()
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
        return self._run(await self.send("POST", f"/v1/runs/{run_id}/cancel"))

    async def answer(self, run_id: str, question_id: str, answer: Any) -> dict[str, Any]:
        """Answer a question of a run, once. Returns the run."""
        body = {"question_id": question_id, "answer": answer}
        return self._run(await self.send("POST", f"/v1/runs/{run_id}/answer", json=body))

    async def resume(self, run_id: str) -> dict[str, Any]:
        """Let an interrupted run go on. Returns it."""
        return self._run(await self.send("POST", f"/v1/runs/{run_id}/resume"))

    async def fork(
        self, run_id: str, *, from_position: str | None = None, thread_id: str | None = None
    ) -> dict[str, Any]:
        """Make a new run from an ended or interrupted one. Returns the new one."""
        wanted = {"from_position": from_position, "thread_id": thread_id}
        body = {name: value for name, value in wanted.items() if value is not None}
        maybe = "it may have been made: see `holdfast ps`"
        return self._run(await self.send("POST", f"/v1/runs/{run_id}/fork", json=body, after_reaching=maybe))

    async def queue(self, thread_id: str, *, limit: int) -> list[dict[str, Any]]:
        """The queued runs of a thread, in order."""
        return await self.items(_queue(thread_id), limit=limit)

    async def edit_queued(self, thread_id: str, run_id: str, run_input: Any) -> dict[str, Any]:
        """Change the input of a queued run. Returns it."""
        return self._run(await self.send("PATCH", f"{_queue(thread_id)}/{run_id}", json={"input": run_input}))

    async def remove_queued(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Take a queued run out of its queue: it is cancelled. Returns it."""
        return self._run(await self.send("DELETE", f"{_queue(thread_id)}/{run_id}"))

    async def put_first(self, thread_id: str, run_id: str) -> dict[str, Any]:
        """Put a queued run before the others of its thread. Returns it."""
        return self._run(await self.send("POST", f"{_queue(thread_id)}/{run_id}/now"))

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

        ``policies`` are further fields of the request, such as ``deadline_s``. One call never makes two runs.
        """
        with self._in_words(after_giving_up="it may have taken the run: see `holdfast ps`"):
            run = await self._holdfast.submit(
                agent, run_input, thread=thread_id, on_link=_worded(on_link), **(policies or {})
            )
        assert run.state is not None
        return run.state.as_json()

    async def follow(
        self, run_id: str, *, after: EventId | None = None, on_link: OnLink | None = None
    ) -> AsyncGenerator[Event, None]:
        """Every event of a run after ``after``, once and in order, to the end of its stream.

        Reconnects where it stopped. A run that has ended and has no event after ``after`` gives none.
        """
        with self._in_words(after_giving_up=f"the run goes on: `holdfast tail {run_id}`"):
            async with aclosing(self._holdfast.run(run_id).events(after, on_link=_worded(on_link))) as events:
                async for event in events:
                    yield event

    def _run(self, shown: Any) -> dict[str, Any]:
        match shown:
            case {"id": str(), "status": str()}:
                return dict(shown)
        raise self._odd()

    def _odd(self) -> NotAGateway:
        return NotAGateway(f"{self.url} does not answer as Holdfast does: is it a Holdfast gateway?")

    def _in_words(
        self, *, after_giving_up: str | None = None, after_reaching: str | None = None
    ) -> AbstractContextManager[None]:
        return in_words(self.url, has_key=self._has_key, after_giving_up=after_giving_up, after_reaching=after_reaching)


def _queue(thread_id: str) -> str:
    return f"/v1/threads/{quote(thread_id, safe='')}/queue"


def _worded(on_link: OnLink | None) -> Callable[[Unreachable | None], None] | None:
    if on_link is None:
        return None
    return lambda away: on_link(None if away is None else why_away(away))
