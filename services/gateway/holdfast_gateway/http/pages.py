"""Pages of lists: ``{"items": […], "next_cursor": … or null}``. A cursor is opaque, and good for the list that made it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from holdfast.errors import Refused

R = TypeVar("R")
_CURSOR_LENGTH_MAX = 512

Limit = Annotated[int, Query(ge=1, le=200, description="how many items at the most")]
Cursor = Annotated[
    str | None,
    Query(max_length=_CURSOR_LENGTH_MAX, description="`next_cursor` of the page before; none: the first page"),
]


def cursor_of(kind: str, place: object) -> str:
    """The cursor of a place in a list of this kind."""
    return base64.urlsafe_b64encode(f"{kind}:{place}".encode()).decode().rstrip("=")


def place_of(kind: str, cursor: str | None, read: Callable[[str], R], start: R) -> R:
    """The place that a cursor stands for; ``start`` without one.

    Raises:
        Refused: ``invalid_cursor``.
    """
    if cursor is None:
        return start
    refused = Refused("invalid_cursor", "this cursor is none of this list")
    try:
        found, _, place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(":")
        value = read(place)
    except (ValueError, binascii.Error) as error:
        raise refused from error
    if found != kind:
        raise refused
    return value


def cut(rows: Sequence[R], limit: int, kind: str, place: Callable[[R], object]) -> tuple[Sequence[R], str | None]:
    """A page of ``limit`` rows, of which one more was asked for, and the cursor of the next page if there is one."""
    if len(rows) <= limit:
        return rows, None
    page = rows[:limit]
    return page, cursor_of(kind, place(page[-1]))
