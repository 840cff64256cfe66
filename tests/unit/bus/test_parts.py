"""Splitting and joining: what is whole in a log comes out as it went in, whatever was cut off between parts (F36)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.bus import names
from holdfast.bus.parts import Joining, Mark, split
from holdfast.runs import EventId
from holdfast.wire import events

MESSAGE_BYTES = 16


@dataclass
class Log:
    """Messages as a stream has them, the wholes that are in it, and between which messages no event is cut in two."""

    messages: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    wholes: list[tuple[int, bytes]] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=lambda: [0])

    def append(self, payload: bytes, event_id: EventId, *, parts_max: int | None = None) -> None:
        """Append, and stop after so many parts."""
        for count, part in enumerate(split(payload, event_id, MESSAGE_BYTES), start=1):
            if parts_max is not None and count > parts_max:
                return
            seq = 1 + (self.messages[-1][0] if self.messages else 0)
            self.messages.append((seq, part.mark.headers() if part.mark is not None else {}, part.payload))
            if part.is_final:
                self.wholes.append((seq, payload))
                self.boundaries.append(seq)


def joined(log: Log, joining: Joining) -> list[tuple[int, bytes]]:
    """What a reader makes of the messages behind where it stands."""
    behind = [message for message in log.messages if message[0] > joining.at]
    return [(message[0], whole) for message in behind if (whole := joining.take(*message)) is not None]


histories = st.lists(
    st.tuples(st.integers(0, 5 * MESSAGE_BYTES), st.one_of(st.none(), st.integers(0, 3)), st.booleans()), max_size=12
)


def make(history: list[tuple[int, int | None, bool]]) -> Log:
    """Each: the size, after how many parts the writer dies if it does, and whether the event is written anew then."""
    log = Log()
    for number, (size, parts_max, again) in enumerate(history, start=1):
        payload = bytes([64 + number]) * size
        log.append(payload, EventId(1, number), parts_max=parts_max)
        if again:
            log.append(payload, EventId(1, number))
    return log


@settings(max_examples=100, deadline=None)
@given(history=histories, start=st.integers(0, 11))
def test_f36_what_is_whole_comes_out_as_it_went_in_from_wherever_a_reader_begins(
    history: list[tuple[int, int | None, bool]], start: int
) -> None:
    log = make(history)
    begin = log.boundaries[start % len(log.boundaries)]
    joining = Joining(begin)
    assert joined(log, joining) == [whole for whole in log.wholes if whole[0] > begin]
    assert joining.seq == log.boundaries[-1]
    assert joining.at == max(begin, log.messages[-1][0] if log.messages else 0)


@settings(max_examples=100, deadline=None)
@given(history=histories, lost=st.sets(st.integers(1, 40), max_size=4))
def test_f36_a_log_that_lost_messages_never_shows_half_an_event(
    history: list[tuple[int, int | None, bool]], lost: set[int]
) -> None:
    log = make(history)
    log.messages = [message for message in log.messages if message[0] not in lost]
    assert set(joined(log, Joining())) <= set(log.wholes)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200), bytes_max=st.integers(1, 64))
def test_f36_no_part_of_an_event_is_an_event_to_a_reader_that_knows_no_parts(text: str, bytes_max: int) -> None:
    """So it takes none for what it is not, also when the text looks like an event: it finds a gap, and mends that."""
    payload = events.frame(EventId(1, 3), "text.delta", {"position": "0", "text": f"id: 9-9\nevent: x{text}"})
    parts = [part.payload for part in split(payload, EventId(1, 3), bytes_max)]
    assert b"".join(parts) == payload
    for part in parts if len(parts) > 1 else []:
        whole = part.endswith(b"\n\n")
        if whole:
            with pytest.raises(ValueError):  # noqa: PT011 - whichever of its readers finds out
                events.frame_id(part)


def test_f36_what_fits_into_a_message_is_not_marked() -> None:
    [part] = split(b"x" * MESSAGE_BYTES, EventId(1, 1), MESSAGE_BYTES)
    assert (part.mark, part.is_final) == (None, True)
    first, last = split(b"x" * (MESSAGE_BYTES + 1), EventId(1, 1), MESSAGE_BYTES)
    assert (first.is_final, last.is_final) == (False, True)
    assert first.mark is not None
    assert Mark.of(first.mark.headers()) == first.mark
    assert first.mark.event_id == EventId(1, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {names.PART_HEADER: "1/2"},
        {names.PART_HEADER: "3/2", names.PART_OF_HEADER: "1-1/9/0"},
        {names.PART_HEADER: "0/2", names.PART_OF_HEADER: "1-1/9/0"},
        {names.PART_HEADER: "one", names.PART_OF_HEADER: "1-1/9/0"},
        {},
    ],
)
def test_headers_of_nobody_who_keeps_to_this_mark_no_part(headers: dict[str, str]) -> None:
    assert Mark.of(headers) is None
    assert Mark.of(None) is None


def test_f36_a_last_part_without_its_beginning_is_passed_over() -> None:
    """Else whoever reads would read it again and again, and join nobody."""
    log = Log()
    log.append(b"x" * 40, EventId(1, 1))
    joining = Joining(1)
    assert joined(log, joining) == []
    assert (joining.at, joining.seq) == (3, 3)


def test_f36_tries_of_one_event_with_other_bytes_are_not_mixed() -> None:
    log = Log()
    log.append(b"x" * 40, EventId(1, 1), parts_max=1)
    other = Log()
    other.append(b"y" * 40, EventId(1, 1))
    log.messages += [(seq + 1, headers, payload) for seq, headers, payload in other.messages[1:]]
    assert joined(log, Joining()) == []
