"""Is the session that a child has loaded the one that the journal tells of? Pure.

The journal and the session are written by different processes, and either may have been killed. So the session may have more at
its end than the journal (what was said and done just before the crash: it is taken as new), or less (it is told to the
child). What it may not have is something else in the same place: then nobody can say what was done, and the run is diverged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from holdfast_agent.acp.story import CUT, OPEN, PERMISSION, CallItem, Item, SaidItem, Sitting
from holdfast_agent.acp.transport import Update
from holdfast_agent.acp.updates import FINAL, ToolCall, text_of

_LINES_SHOWN = 12
_LINE_CHARS = 160


@dataclass(frozen=True, slots=True)
class UserItem:
    """A prompt, as the session has it."""

    text: str


@dataclass(frozen=True, slots=True)
class Matched:
    """The session is the journal's.

    Attributes:
        beyond: what only the session has.
        behind: what only the journal has.
        ends: how the session says that calls ended which the journal has only begun, by the identity of the journal's call.
        arrived: the session has a prompt of this run.
        sent: it has the newest one; None: one cannot tell.
    """

    beyond: Sequence[Item] = ()
    behind: Sequence[Item] = ()
    ends: Mapping[int, CallItem] = field(default_factory=dict)
    arrived: bool = True
    sent: bool | None = None


@dataclass(frozen=True, slots=True)
class Disagreement(Exception):
    """The session is not the journal's. ``at`` says where; the two sides are lines for a person."""

    at: str
    journal: Sequence[str]
    session: Sequence[str]

    def __str__(self) -> str:
        sides = f"Journal:\n{_block(self.journal)}\nSession:\n{_block(self.session)}"
        return f"the child's session disagrees with the journal at {self.at}. {sides}"


def told(history: Iterable[Update]) -> list[Item | UserItem]:
    """What a child has replayed, as items: neighbouring chunks joined, the updates of a call merged."""
    items: list[Item | UserItem] = []
    calls: dict[str, ToolCall] = {}
    joins = ""
    for each in history:
        if each.kind in ("user_message_chunk", "agent_message_chunk"):
            text = text_of(each.update.get("content"))
            kind = UserItem if each.kind == "user_message_chunk" else SaidItem
            message = f"{each.kind}{each.update.get('messageId')}" if kind is UserItem else each.kind
            if items and isinstance(items[-1], kind) and joins == message:
                text = items.pop().text + text  # type: ignore[union-attr]  # both kinds have one
            items.append(kind(text))
            joins = message
        elif each.kind in ("tool_call", "tool_call_update") and each.update.get("toolCallId"):
            ident = str(each.update["toolCallId"])
            if ident not in calls:
                calls[ident] = ToolCall(ident)
                items.append(CallItem(calls[ident], "unknown"))
            calls[ident].merge(each.update)
    return [_settled(item) for item in items if not isinstance(item, SaidItem) or item.text]


def _settled(item: Item | UserItem) -> Item | UserItem:
    if not isinstance(item, CallItem):
        return item
    call = item.call
    return CallItem(call, call.status if call.status in FINAL else "unknown", call.result_text)


def match(sittings: Sequence[Sitting], history: Iterable[Update]) -> Matched:
    """Compare the journal's sittings with the session, both of the same session id.

    Raises:
        Disagreement: see the module.
    """
    session = told(history)
    if not any(isinstance(item, UserItem) for item in session):
        return replace(_match_flat(sittings, session), arrived=bool(session), sent=None if session else False)
    place = 0
    arrived = here = False
    matched = Matched(arrived=False)
    for number, sitting in enumerate(sittings):
        last = number == len(sittings) - 1
        found = session[place] if place < len(session) else None
        here = sitting.sent is not False and isinstance(found, UserItem) and _same_prompt(sitting.prompt, found.text)
        if not here and not sitting.items and sitting.how in (CUT, OPEN):
            continue  # its runner was killed before the prompt was sent, or before the child had saved it
        if not here and found is not None:
            expected = [f"user: {_short(sitting.prompt or '')}", *_lines(sitting.items)]
            raise Disagreement("a prompt", expected, _lines(session[place : place + 3]))
        arrived = arrived or here
        end = _end(session, place + 1, sitting, sittings[number + 1].prompt if not last else None)
        matched = _sitting(sitting, session[place + 1 : end], last=last, at=f"prompt {number + 1}")
        place = end
    if place < len(session):
        raise Disagreement("its end: a prompt that this run did not send", _lines_of(sittings), _lines(session[place:]))
    return replace(matched, arrived=arrived, sent=here)


def _end(session: Sequence[Item | UserItem], place: int, sitting: Sitting, following: str | None) -> int:
    """Where a sitting's items end: at the next prompt. Some children note that they were stopped as one more of those."""
    for index in range(place, len(session)):
        item = session[index]
        if not isinstance(item, UserItem):
            continue
        if following is not None and _same_prompt(following, item.text):
            return index
        if following is None and sitting.how != PERMISSION:
            return index
    return len(session)


def _sitting(sitting: Sitting, found: Sequence[Item | UserItem], *, last: bool, at: str) -> Matched:
    """One prompt's items against each other."""
    journal = _joined(item for item in sitting.items if not _is_asked(item, sitting))
    session: list[Item] = []
    for item in found:
        if isinstance(item, UserItem) or (sitting.how == PERMISSION and _is_asked(item, sitting)):
            break  # what came after is how the child took being stopped
        session.append(item)
    session = _joined(session)
    common = 0
    rest: list[Item] = []
    ends: dict[int, CallItem] = {}
    for mine, theirs in zip(journal, session, strict=False):
        verdict = _same(mine, theirs, journal_ends=common == len(journal) - 1, session_ends=common == len(session) - 1)
        if verdict is None:
            raise Disagreement(f"{at}, item {common + 1}", _lines(journal[common:]), _lines(session[common:]))
        rest.extend(verdict)
        if isinstance(mine, CallItem) and isinstance(theirs, CallItem) and mine.status == OPEN:
            ends[id(mine.call)] = theirs
        common += 1
    beyond, behind = session[common:], journal[common:]
    behind = [item for item in behind if not (isinstance(item, CallItem) and item.status == OPEN)]
    if sitting.how == PERMISSION:
        return Matched((), tuple(behind) if last else ())
    if not last:
        if beyond or (behind and sitting.how != CUT):
            raise Disagreement(
                f"{at}, item {common + 1}", _lines(behind) or ["(nothing)"], _lines(beyond) or ["(nothing)"]
            )
        return Matched()
    return Matched((*rest, *beyond), tuple(behind), ends)


def _match_flat(sittings: Sequence[Sitting], session: Sequence[Item | UserItem]) -> Matched:
    """A child that does not replay what it was asked: all in one, with the calls that were stopped at left out of both."""
    asked = {ident for sitting in sittings for ident in sitting.asked}
    whole = Sitting(None, how=sittings[-1].how if sittings else "open")
    whole.items = [item for sitting in sittings for item in sitting.items if not _is_asked(item, sitting)]
    done = {item.call.id for item in whole.items if isinstance(item, CallItem)}
    kept = [
        item
        for item in session
        if not (isinstance(item, CallItem) and item.call.id in asked and item.call.id not in done)
    ]
    return _sitting(whole, kept, last=True, at="the session")


def _is_asked(item: Item | UserItem, sitting: Sitting) -> bool:
    return isinstance(item, CallItem) and item.call.id in sitting.asked


def _same(mine: Item, theirs: Item, *, journal_ends: bool, session_ends: bool) -> Sequence[Item] | None:
    """None: not the same. Else what the session has beyond: the rest of a text that was cut."""
    if isinstance(mine, SaidItem) and isinstance(theirs, SaidItem):
        ours, other = _flat(mine.text), _flat(theirs.text)
        if ours == other or (session_ends and ours.startswith(other)):
            return ()
        if journal_ends and other.startswith(ours):
            rest = theirs.text[len(mine.text) :] if theirs.text.startswith(mine.text) else other[len(ours) :]
            return (SaidItem(rest),) if rest.strip() else ()
        return None
    if isinstance(mine, CallItem) and isinstance(theirs, CallItem):
        if mine.call.id != theirs.call.id and mine.call.fingerprint != theirs.call.fingerprint:
            return None
        inputs = (mine.call.raw_input, theirs.call.raw_input)
        if all(inputs) and inputs[0] != inputs[1] and "shortened" not in str(inputs[0])[:20]:
            return None
        return None if {mine.status, theirs.status} == FINAL else ()
    return None


def _same_prompt(sent: str | None, found: str) -> bool:
    """Children may add to a prompt, and cut what is long."""
    if sent is None:
        return True
    ours, theirs = _flat(sent), _flat(found)
    return bool(theirs) and (ours in theirs or theirs in ours)


def _joined(items: Iterable[Item]) -> list[Item]:
    """Neighbouring texts as one: where the journal has cut a text does not count."""
    joined: list[Item] = []
    for item in items:
        if isinstance(item, SaidItem) and joined and isinstance(joined[-1], SaidItem):
            joined[-1] = SaidItem(joined[-1].text + item.text)
        else:
            joined.append(item)
    return joined


def _flat(text: str) -> str:
    return " ".join(text.split())


def _lines_of(sittings: Sequence[Sitting]) -> list[str]:
    lines: list[str] = []
    for sitting in sittings:
        lines += [f"user: {_short(sitting.prompt or '(not kept)')}", *_lines(sitting.items)]
    return lines[-_LINES_SHOWN:]


def _lines(items: Sequence[Item | UserItem]) -> list[str]:
    """Items as a person reads them."""
    lines = []
    for item in items[:_LINES_SHOWN]:
        if isinstance(item, CallItem):
            lines.append(f"tool: {_short(item.call.name)} ({item.call.id}): {item.status}")
        else:
            lines.append(f"{'user' if isinstance(item, UserItem) else 'said'}: {_short(item.text)}")
    return lines


def _short(text: str) -> str:
    flat = _flat(text)
    return flat if len(flat) <= _LINE_CHARS else flat[: _LINE_CHARS - 1] + "…"


def _block(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines) or "  (nothing)"
