"""What viewers of a run are shown, as its owner knows it: the text that the record will hold."""

from __future__ import annotations

from collections.abc import Iterable


class Transcript:
    """Text in the order in which it was shown, by the step that showed it. ``kept`` was shown by earlier attempts.
    ``chars`` is the length of all of it.

    At a takeover viewers keep the text of every finished step, whether the agent has asked for it again or not.
    """

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self._kept = "".join(kept)
        self.chars = len(self._kept)
        self._settled: list[str] = []
        self._open: list[tuple[str | None, str]] = []

    def show(self, position: str | None, text: str) -> None:
        """Text was shown, within a step or outside any (None)."""
        self.chars += len(text)
        self._open.append((position, text))

    def begin(self, position: str) -> bool:
        """A step begins, or begins anew: viewers drop what an earlier try of it had shown. Was there any?"""
        dropped = [text for at, text in self._open if at == position]
        self.chars -= sum(map(len, dropped))
        self._open = [(at, text) for at, text in self._open if at != position]
        return bool(dropped)

    def finish(self, position: str) -> str:
        """A step is finished: returns its text, and what was shown outside any step since the one before.

        What a step left that its agent gave up stays on the screen, and goes with the next takeover: it is nobody's.
        """
        text = "".join(text for at, text in self._open if at in (None, position))
        self._settled.append(self.open_text)
        self._open.clear()
        return text

    @property
    def open_text(self) -> str:
        """The text since the last finished step."""
        return "".join(text for _, text in self._open)

    @property
    def text(self) -> str:
        """All of it."""
        return self._kept + "".join(self._settled) + self.open_text
