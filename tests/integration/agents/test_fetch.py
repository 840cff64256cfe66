"""The fetching tool of ``assistant``, from a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from holdfast.http import serving
from holdfast_agent.builtin import fetch as module
from holdfast_agent.builtin.fetch import AllowList, FetchRefusedError, fetch
from holdfast_local.ports import free_ports
from tests.support.wait import wait_until


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that notes who it was taken for, and redirects."""
    [port] = free_ports(1)

    async def hello(request: Request) -> Response:
        return PlainTextResponse(f"hello from {request.headers['host'].partition(':')[0]}")

    async def large(_: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 4096
                await asyncio.sleep(0)

        return StreamingResponse(body(), media_type="text/plain")

    async def slow(_: Request) -> Response:
        await asyncio.sleep(30)
        return PlainTextResponse("late")

    async def go(request: Request) -> Response:
        return RedirectResponse(request.query_params["to"])

    async def circle(_: Request) -> Response:
        return RedirectResponse("/circle")

    async def image(_: Request) -> Response:
        return Response(b"\x89PNG", media_type="image/png")

    routes = [Route(f"/{each.__name__}", each) for each in (hello, large, slow, go, circle, image)]
    async with serving(Starlette(routes=routes), "127.0.0.1", port, stop_timeout_s=1.0):
        await wait_until(lambda: _listens(port), description="the server to listen")
        yield port


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


HERE = AllowList.of({"127.0.0.1"})


async def test_an_allowed_address_is_fetched(port: int) -> None:
    url = f"http://127.0.0.1:{port}/hello"
    assert await fetch(url, HERE) == {
        "url": url,
        "status": 200,
        "content_type": "text/plain; charset=utf-8",
        "text": "hello from 127.0.0.1",
        "truncated": False,
    }
    assert (await fetch(f"http://127.0.0.1:{port}/nothing", HERE))["status"] == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/hello",
        "http://localhost:{port}/hello",
        "http://example.org/",
        "http://169.254.169.254/latest",
        "http://[::1]:{port}/hello",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://user:word@127.0.0.1:{port}/hello",
        "no address",
        "http://",
    ],
)
async def test_nothing_is_allowed_unless_it_is_on_the_list(port: int, url: str) -> None:
    with pytest.raises(FetchRefusedError):
        await fetch(url.format(port=port), AllowList.of(()))


async def test_a_name_that_leads_to_a_private_address_needs_that_address_on_the_list_too(port: int) -> None:
    url = f"http://localhost:{port}/hello"
    with pytest.raises(FetchRefusedError, match="not public"):
        await fetch(url, AllowList.of({"localhost"}))
    with pytest.raises(FetchRefusedError, match="not on the list"):
        await fetch(url, AllowList.of({"localhost:1", "127.0.0.0/8", "::1"}))
    answer = await fetch(url, AllowList.of({f"localhost:{port}", "127.0.0.0/8", "::1"}))
    assert answer["text"] == "hello from localhost"


async def test_the_connection_goes_to_the_address_that_was_checked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def changing(host: str, *args: object, **kwargs: object) -> object:
        asked.append(str(host))
        return await real("127.0.0.1", *args, **kwargs)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(loop, "getaddrinfo", changing)
    answer = await fetch(f"http://changing.example:{port}/hello", AllowList.of({"*.example", "127.0.0.1"}))
    assert answer["text"] == "hello from changing.example"
    assert asked.count("changing.example") == 1


async def test_redirects_are_followed_within_the_list_and_no_further(port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    assert (await fetch(f"{base}/go?to=/hello", HERE))["url"] == f"{base}/hello"
    for out in ("http://127.0.0.2/", "http://example.org/", "file:///etc/passwd"):
        with pytest.raises(FetchRefusedError):
            await fetch(f"{base}/go?to={out}", HERE)
    with pytest.raises(FetchRefusedError, match="redirects"):
        await fetch(f"{base}/circle", HERE)


async def test_what_is_large_is_cut_and_what_is_slow_or_no_text_refused(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await fetch(f"http://127.0.0.1:{port}/large", HERE)
    assert (len(str(answer["text"])), answer["truncated"]) == (module.BODY_BYTES_MAX, True)
    with pytest.raises(FetchRefusedError, match="no plain text"):
        await fetch(f"http://127.0.0.1:{port}/image", HERE)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.3)
    with pytest.raises(FetchRefusedError):
        await fetch(f"http://127.0.0.1:{port}/slow", HERE)


@pytest.mark.parametrize(
    ("entry", "host", "port", "named"),
    [
        ("example.org", "example.org", 80, True),
        ("example.org", "www.example.org", 80, False),
        ("*.example.org", "www.example.org", 443, True),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 80, False),
        ("Example.ORG", "example.org", 80, True),
        ("example.org", "badexample.org", 80, False),
    ],
)
def test_names_on_the_list(entry: str, host: str, port: int, named: bool) -> None:
    assert AllowList.of({entry}).names(host, port) is named
