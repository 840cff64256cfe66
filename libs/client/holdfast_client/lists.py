"""Lists, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel

from holdfast_client.answers import model_of
from holdfast_client.errors import NotAGateway
from holdfast_client.gateway import Gateway
from holdfast_client.models import Page

M = TypeVar("M", bound=BaseModel)


async def page_of(gateway: Gateway, path: str, kind: type[M], params: Mapping[str, Any], patience_s: float) -> Page[M]:
    """One page of a list; ``params`` that are None are left out.

    Raises:
        NotAGateway: it is no page.
    """
    shown = await gateway.send("GET", path, params=params, patience_s=patience_s)
    match shown:
        case {"items": list() as items}:
            return Page(tuple(model_of(kind, each, gateway.url) for each in items), shown.get("next_cursor"))
    raise NotAGateway(f"{gateway.url} does not answer as Holdfast does: {path} is no page")
