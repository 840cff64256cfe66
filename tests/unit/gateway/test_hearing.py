"""What is heard is taken as it is read, and its headers are those that the library reads."""

from __future__ import annotations

from unittest.mock import AsyncMock

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from holdfast.bus.hearing import header_lines, hear

NAMES = st.sampled_from([b"Nats-Sequence", b" Holdfast-Last ", b"two words", b"\tTab", b"", b"caf\xc3\xa9", b"A"])
VALUES = st.one_of(st.binary(max_size=6), st.sampled_from([b" 12 ", b"a:b", b"\xff"]))
LINES = st.one_of(st.binary(max_size=8), st.tuples(NAMES, VALUES).map(lambda pair: pair[0] + b": " + pair[1]))


@given(st.lists(LINES, max_size=8))
def test_headers_are_read_as_the_library_reads_them(lines: list[bytes]) -> None:
    raw = b"\r\n".join(lines) + b"\r\n\r\n"
    assert header_lines(raw) == Client._parse_header_lines(raw)


async def test_a_message_that_cannot_be_taken_does_not_end_the_reading_of_its_connection() -> None:
    taken: list[Msg] = []

    def take(message: Msg) -> None:
        if not message.data:
            raise ValueError("odd")
        taken.append(message)

    client = Client()
    client._send_subscribe = AsyncMock()  # type: ignore[method-assign]
    await hear(client, "s", take)
    for data in (b"", b"whole"):
        await client._process_msg(client._sid, b"s", b"", data, b"")
    assert [message.data for message in taken] == [b"whole"]
