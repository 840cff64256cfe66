"""One gateway over HTTP, or what stands before several: requests that are tried again, and connections of streams.

Knows no resource of the API: it sends what it is told and turns what went wrong into the client's errors.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx2

from holdfast_client.answers import check, json_of, unreachable
from holdfast_client.errors import KeyNotUsable, NotAGateway, Unreachable
from holdfast_client.patience import OnLink, Patience

_CONNECT_TIMEOUT_S = 3.0
_STREAM_SILENCE_MAX_S = 25.0  # a keepalive comes every 10 s
_EVENT_BYTES_MAX = 256 * 1024 * 1024  # a snapshot carries every step's output
_IDLE_CONNECTIONS_MAX = 20
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})


class Gateway:
    """Where requests go.

    ``url`` is for people: without the user and password that it may have been given with.
    ``was_there`` says whether anybody has ever answered: a gateway that was never there is an error at once (a wrong URL is found
    at once), and one that was is waited for.

    Raises:
        NotAGateway: ``url`` is none.
        KeyNotUsable: ``key`` cannot be sent.
    """

    def __init__(
        self, url: str, key: str | None, *, timeout_s: float, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._base = url.rstrip("/")
        parts = _parts(self._base)
        self.url = str(parts.copy_with(userinfo=b"")).rstrip("/") if parts.userinfo else self._base
        if key:
            _refuse_unsendable(key)
        self.was_there = False
        connect_s = min(_CONNECT_TIMEOUT_S, timeout_s)
        self._timeout = httpx2.Timeout(timeout_s, connect=connect_s)
        self._stream_timeout = httpx2.Timeout(timeout_s, connect=connect_s, read=_STREAM_SILENCE_MAX_S)
        self._client = httpx2.AsyncClient(
            headers=_headers(key, beside_a_password=bool(parts.userinfo)) if key else None,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=_IDLE_CONNECTIONS_MAX),
            transport=transport,
            trust_env=parts.host not in _THIS_MACHINE,  # no proxy is asked for what is on this machine
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        patience_s: float = 0.0,
        repeatable: bool = True,
        slow: bool = False,
        on_link: OnLink | None = None,
    ) -> Any:
        """The JSON of an answer; None when it has no content. ``slow``: it may take as long as a stream may be silent.

        A request whose answer got lost is sent again for ``patience_s`` if it is ``repeatable``, or nothing was done about it.

        Raises:
            Unreachable: also when it was tried again in vain.
            Refused: the gateway said no.
            NotAGateway: it does not answer as one.
        """
        patience = Patience(patience_s, on_link)
        wanted = {name: value for name, value in (params or {}).items() if value is not None}
        timeout = self._stream_timeout if slow else self._timeout
        request = self._client.build_request(
            method, self._base + path, params=wanted or None, json=json, headers=headers, timeout=timeout
        )
        while True:
            try:
                answer = await self._once(request)
            except Unreachable as away:
                if not (patience_s and self.was_there and (repeatable or away.not_begun)):
                    raise
                await patience.pause(away)
            else:
                patience.connected()
                return json_of(answer)

    async def _once(self, request: httpx2.Request) -> httpx2.Response:
        try:
            answer = await self._client.send(request)
        except httpx2.TransportError as error:
            raise self._away(error) from error
        except httpx2.RequestError as error:
            raise NotAGateway(f"{self.url} does not answer as Holdfast does: {error}") from error
        self.was_there = True
        check(answer, self.url)
        return answer

    async def stream(
        self, path: str, cursor: str | None, patience: Patience
    ) -> AsyncGenerator[httpx2.ServerSentEvent, None]:
        """One connection of an event stream, from the cursor on, to its clean end.

        Raises:
            Unreachable: it could not be made, or broke: connect again with the last event's id.
            Refused: the gateway said no.
            NotAGateway: it does not stream as one.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        try:
            async with self._client.stream(
                "GET", self._base + path, headers=headers, timeout=self._stream_timeout
            ) as answer:
                self.was_there = True
                if not answer.is_success:
                    await answer.aread()
                check(answer, self.url)
                patience.connected()
                if answer.status_code != 204:  # nothing to follow
                    async for event in httpx2.EventSource(answer, max_event_size=_EVENT_BYTES_MAX):
                        if event.data:
                            patience.moved()
                            yield event
        except httpx2.SSEError as error:
            raise NotAGateway(f"{self.url} does not stream as Holdfast does: {error}") from error
        except httpx2.TransportError as error:
            raise self._away(error) from error
        except httpx2.RequestError as error:
            raise NotAGateway(f"{self.url} does not stream as Holdfast does: {error}") from error

    def _away(self, error: httpx2.TransportError) -> Unreachable:
        away = unreachable(error, self.url)
        self.was_there = self.was_there or away.reached
        return away


def _parts(url: str) -> httpx2.URL:
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise NotAGateway(f"{url!r} is not the URL of a gateway, such as http://127.0.0.1:8080")
    return parts


def _headers(key: str, *, beside_a_password: bool) -> dict[str, str]:
    """A URL's user and password, which are for a proxy, take the header that a key usually has."""
    return {"X-Api-Key": key} if beside_a_password else {"Authorization": f"Bearer {key}"}


def _refuse_unsendable(key: str) -> None:
    """What a header cannot carry is found here, and not by a gateway that hangs up. The key itself is not shown."""
    if not all("!" <= character <= "~" for character in key):
        raise KeyNotUsable("the API key has a space, a line break or another character that no key has")
