"""Importing what a process is made of, in less time. For the entry points alone; imports nothing itself.

A start is computing, and most of it is imports; a test run starts hundreds of processes. Libraries import what happens to be
installed for the use that some program might make of it: structlog takes rich for tracebacks in colour, FastStream takes uvicorn
and email_validator. A service uses none of that.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

NOT_NEEDED: Mapping[str, frozenset[str]] = {
    "email_validator": frozenset({"fastapi", "faststream"}),
    "rich": frozenset({"structlog"}),
    "uvicorn": frozenset({"faststream"}),
    "watchfiles": frozenset({"granian"}),
}
"""Package -> the libraries of ours that import it where it is installed, go without where it is not, and do not need it here."""


class _Without:
    """A finder that knows of no such package when one of those libraries asks. Whoever else asks gets it: a plugin of pydantic's,
    say, which pydantic loads at its first model and for good leaves out when it cannot be imported."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        """Leave it to the other finders, or refuse.

        Raises:
            ModuleNotFoundError: as if it were not installed.
        """
        if name in NOT_NEEDED and _who_imports() in NOT_NEEDED[name]:
            raise ModuleNotFoundError(f"No module named {name!r}: left out by {__name__}", name=name)


def _who_imports() -> str:
    """The package of whoever has called the import system."""
    frame = sys._getframe(2)
    while "importlib" in (name := str(frame.f_globals.get("__name__"))) and frame.f_back is not None:
        frame = frame.f_back
    return name.partition(".")[0]


@contextmanager
def lean() -> Iterator[None]:
    """In the block these libraries import such a package as if it were not installed; after it, it is there for whoever imports
    it. The garbage collector rests, which would walk all that was imported so far again and again, and it leaves alone for good
    what the imports have made: that stays anyhow.
    """
    without = _Without()
    collects = gc.isenabled()
    gc.disable()
    sys.meta_path.insert(0, without)
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody has made the list anew
            sys.meta_path.remove(without)
        gc.freeze()
        if collects:
            gc.enable()
