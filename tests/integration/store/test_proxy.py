"""The TCP proxy that tests put before a server does to a link what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Direction, Proxy
from tests.support.wait import wait_until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def heard() -> list[bytes]:
    """What the server has read, one element for each connection that has ended."""
    return []


@pytest.fixture
async def proxy(heard: list[bytes]) -> AsyncIterator[Proxy]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = b""
        try:
            while line := await reader.readline():
                said += line
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            heard.append(said)
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


async def _connect(proxy: Proxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def _echoed(streams: Streams, line: bytes = b"hello\n", *, within_s: float = 2.0) -> bytes:
    reader, writer = streams
    writer.write(line)
    return await asyncio.wait_for(reader.readline(), within_s)


async def _is_reset(streams: Streams) -> bool:
    try:
        return await asyncio.wait_for(streams[0].read(), 2.0) == b""
    except ConnectionError:
        return True


async def test_it_forwards_both_ways_and_ends_with_its_client(proxy: Proxy, heard: list[bytes]) -> None:
    streams = await _connect(proxy)
    assert await _echoed(streams, b"x" * 50_000 + b"\n") == b"x" * 50_000 + b"\n"
    streams[1].close()
    await wait_until(lambda: proxy.links == 0, description="the link to end")
    assert [len(said) for said in heard] == [50_001]


async def test_a_cut_resets_what_is_open_and_what_comes_until_it_is_restored(proxy: Proxy) -> None:
    streams = await _connect(proxy)
    await _echoed(streams)
    proxy.cut()
    assert await _is_reset(streams)
    assert await _is_reset(await _connect(proxy))
    proxy.restore()
    assert await _echoed(await _connect(proxy)) == b"hello\n"


@pytest.mark.parametrize("direction", Direction)
async def test_what_is_stalled_arrives_later(proxy: Proxy, direction: Direction) -> None:
    streams = await _connect(proxy)
    await _echoed(streams)
    proxy.stall(direction)
    with pytest.raises(TimeoutError):
        await _echoed(streams, b"late\n", within_s=0.05)
    proxy.resume()
    assert await asyncio.wait_for(streams[0].readline(), 2.0) == b"late\n"


async def test_what_is_stalled_arrives_even_when_its_sender_has_gone(proxy: Proxy, heard: list[bytes]) -> None:
    streams = await _connect(proxy)
    await _echoed(streams)
    proxy.stall(Direction.UP)
    streams[1].write(b"last words\n")
    streams[1].close()
    await streams[1].wait_closed()
    assert heard == []
    proxy.resume()
    await wait_until(lambda: heard == [b"hello\nlast words\n"], description="the last words to arrive")


async def test_a_stall_may_spare_new_connections(proxy: Proxy) -> None:
    old = await _connect(proxy)
    await _echoed(old)
    proxy.stall(new_links=False)
    assert await _echoed(await _connect(proxy)) == b"hello\n"
    proxy.stall()
    with pytest.raises(TimeoutError):
        await _echoed(await _connect(proxy), within_s=0.05)


async def test_a_stalled_link_can_be_cut_and_loses_what_was_held(proxy: Proxy, heard: list[bytes]) -> None:
    streams = await _connect(proxy)
    await _echoed(streams)
    proxy.stall()
    streams[1].write(b"lost\n")
    proxy.cut()
    assert await _is_reset(streams)
    await wait_until(lambda: proxy.links == 0 and heard == [b"hello\n"], description="both ends to be gone")


@pytest.mark.parametrize(("direction", "arrives"), [(Direction.UP, b"one\n"), (Direction.DOWN, b"one\nlost\n")])
async def test_a_cut_at_a_chosen_moment_loses_that_chunk_once(
    proxy: Proxy, heard: list[bytes], direction: Direction, arrives: bytes
) -> None:
    streams = await _connect(proxy)
    await _echoed(streams, b"one\n")
    sprung = proxy.cut_when(direction, lambda chunk: b"lost" in chunk)
    streams[1].write(b"lost\n")
    assert await _is_reset(streams)
    assert sprung.is_set()
    await wait_until(lambda: heard == [arrives], description="the server to see the end of the link")
    assert await _echoed(await _connect(proxy), b"lost\n") == b"lost\n"


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    async with Proxy("127.0.0.1", 1) as proxy:
        assert await _is_reset(await _connect(proxy))
        assert (
            proxy.url("postgresql://me:secret@db:5432/x?y=z") == f"postgresql://me:secret@127.0.0.1:{proxy.port}/x?y=z"
        )
        assert Proxy.before("nats://127.0.0.1:4222").url("nats://h:1") == "nats://127.0.0.1:0"
