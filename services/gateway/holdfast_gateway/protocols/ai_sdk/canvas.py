"""What a client holds of the SDK step that is open, and the chunks that bring it there. Pure.

The one way to take something back from the SDK's client is ``reset-step``: it drops every part since the last ``start-step``. So
whatever is dropped or comes to stand elsewhere, the step is reset, and what is left of it is drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from holdfast.runs import EventId
from holdfast_gateway.protocols.ai_sdk.message import Chunk, Data, Part, Tool, Words


class Canvas:
    """``parts`` are those of the open SDK step, in the client's order. Chunks are gathered until :meth:`taken`.

    While it is not ``visible`` nothing is told: the client has it already, from another stream.
    """

    def __init__(self, *, visible: bool) -> None:
        self.parts: list[Part] = []
        self.visible = visible
        self._out: list[Chunk] = []

    def emit(self, *chunks: Chunk) -> None:
        """Tell the client."""
        if self.visible:
            self._out += chunks

    def taken(self) -> list[Chunk]:
        """What was told since this was last asked."""
        taken, self._out = self._out, []
        return taken

    # -- parts ---------------------------------------------------------------------------------------------------------

    def add(self, part: Part) -> None:
        """A part at the end; the words of its step that came before it are over."""
        self.end_words(part.position)
        self.parts.append(part)
        self.emit(*part.draw())

    def say(self, kind: Literal["text", "reasoning"], at: EventId, position: str | None, text: str) -> None:
        """Words, within a step or outside any."""
        words = self._going_on(kind, position)
        if words is None:
            self.add(Words(kind, str(at), position, [(at, text)]))
        else:
            words.pieces.append((at, text))
            self.emit(words.delta(text))

    def show(self, name: str, at: EventId, position: str | None, value: Any, ident: str | None = None) -> None:
        """Data."""
        self.add(Data(name, at, position, value, ident))

    def _going_on(self, kind: str, position: str | None) -> Words | None:
        """The part to append to: only one with nothing behind it that its words may have to stand after in the end."""
        for part in reversed(self.parts):
            if position is None or part.position in (None, position):
                same = isinstance(part, Words) and part.kind == kind and part.position == position
                return part if isinstance(part, Words) and same and not part.ended else None
        return None

    def end_words(self, position: str | None) -> None:
        """Nothing more is appended to the words of a step, or to those outside any."""
        self._end(part for part in self.parts if part.position == position)

    def end_all_words(self) -> None:
        """Nothing more is appended to any words."""
        self._end(self.parts)

    def _end(self, parts: Any) -> None:
        for part in parts:
            if isinstance(part, Words) and not part.ended:
                part.ended = True
                self.emit(part.end())

    # -- what is kept, and where ---------------------------------------------------------------------------------------

    def settle(self, position: str) -> None:
        """A step has finished: its words count from here, and what was shown outside of steps goes with them. Words of other
        steps, which are still at work, come after them."""
        mine = [part for part in self.parts if not part.kept and part.position in (None, position)]
        behind_others = self._stand_behind_others(position)
        for part in mine:
            part.kept = True
        if not behind_others:
            self._end(mine)
            return
        for part in mine:
            if isinstance(part, Words):
                part.ended = True
        self.parts = [*(part for part in self.parts if part.kept), *(part for part in self.parts if not part.kept)]
        self.redraw()

    def _stand_behind_others(self, position: str) -> bool:
        """Do words of a step that finishes now stand behind words of steps that are still at work?"""
        others = False
        for part in self._unkept_text():
            if part.position not in (None, position):
                others = True
            elif others:
                return True
        return False

    def _unkept_text(self) -> list[Words]:
        return [part for part in self.parts if isinstance(part, Words) and part.kind == "text" and not part.kept]

    def order_the_rest(self) -> None:
        """The run is over: words of steps that never finished stand in the order in which they came."""
        rest = self._unkept_text()
        if len({part.position for part in rest if part.position is not None}) < 2:
            return
        ordered: list[Words] = []
        for at, position, text in sorted((at, part.position, text) for part in rest for at, text in part.pieces):
            if ordered and ordered[-1].position == position:
                ordered[-1].pieces.append((at, text))
            else:
                ordered.append(Words("text", str(at), position, [(at, text)], ended=True))
        if _places(ordered) != _places(rest):
            self.parts = [*(part for part in self.parts if part not in rest), *ordered]
            self.redraw()

    def drop(self, gone: Callable[[Part], bool], *, redraw_anyway: bool = False) -> list[Part]:
        """Take parts back; returns them."""
        dropped = [part for part in self.parts if gone(part)]
        if dropped or redraw_anyway:
            self.parts = [part for part in self.parts if part not in dropped]
            self.redraw()
        return dropped

    def redraw(self) -> None:
        """Have the client drop the step, and give it what is left."""
        self.emit({"type": "reset-step"})
        for part in self.parts:
            self.emit(*part.draw())

    def wipe(self) -> list[Part]:
        """Have the client drop the step, if there is anything in it; returns what was."""
        wiped, self.parts = self.parts, []
        if wiped:
            self.emit({"type": "reset-step"})
        return wiped

    def close(self) -> None:
        """The step is beyond the reach of a reset from now on."""
        for part in self.parts:
            part.kept = True
            if isinstance(part, Tool):
                part.closed = True
        self.parts = []


def _places(words: Sequence[Words]) -> list[tuple[str | None, list[EventId]]]:
    return [(part.position, [at for at, _ in part.pieces]) for part in words]
