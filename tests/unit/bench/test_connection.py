"""The lean client: it must know when an answer is whole, wherever the socket cuts it."""

from __future__ import annotations

import asyncio

import pytest

from bench.runs.connection import Connection, Refused, request

PLAIN = b'HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\n\r\n{"a":1}'
STREAM = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    b"15\r\nevent: run.queued\n\n0\n\r\n18\r\nevent: run.completed\n\n0\n\r\n0\r\n\r\n"
)


class Written(asyncio.Transport):
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep."""
        self.data += bytes(data)


async def asked(*pieces: bytes) -> bytes:
    """What an ask returns when these pieces arrive."""
    connection = Connection()
    connection.connection_made(Written())
    answer = asyncio.ensure_future(connection.ask(request(80, follow=False)))
    await asyncio.sleep(0)
    for piece in pieces:
        assert not answer.done()
        connection.data_received(piece)
    return await asyncio.wait_for(answer, 1.0)


@pytest.mark.parametrize("whole", [PLAIN, STREAM])
async def test_an_answer_is_whole_at_its_last_byte_and_not_before(whole: bytes) -> None:
    assert await asked(*(whole[n : n + 1] for n in range(len(whole)))) == whole


async def test_a_refusal_is_told() -> None:
    with pytest.raises(Refused, match="409 Conflict"):
        await asked(b"HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n")


async def test_an_event_is_timed_when_it_is_there_whole() -> None:
    connection = Connection([b"event: run.queued\n", b"event: run.completed\n"])
    connection.connection_made(Written())
    answer = asyncio.ensure_future(connection.ask(request(80, follow=True)))
    await asyncio.sleep(0)
    cut = STREAM.index(b"completed") + 3
    connection.data_received(STREAM[:cut])
    assert list(connection.seen_ns) == [b"event: run.queued\n"]
    connection.data_received(STREAM[cut:])
    await answer
    first, last = connection.seen_ns.values()
    assert first <= last


def test_each_submit_has_a_key_of_its_own() -> None:
    keys = {request(80, follow=False).split(b"Idempotency-Key: ")[1].split(b"\r\n")[0] for _ in range(3)}
    assert len(keys) == 3
