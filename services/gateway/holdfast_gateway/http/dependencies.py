"""What routes ask for: the gateway's parts, and who asks."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Request

from holdfast_gateway.auth import EVERYBODY, Caller, presented_key, who_has
from holdfast_gateway.http.wanted import THREAD_ID_PATTERN
from holdfast_gateway.parts import Parts


async def parts_of(request: Request) -> Parts:
    """The parts of the gateway that this app was made for."""
    return cast(Parts, request.app.state.parts)


PartsOf = Annotated[Parts, Depends(parts_of)]


async def caller_of(request: Request, parts: PartsOf) -> Caller:
    """Who asks; looked up at each request, so that a revoked key is refused at once.

    Raises:
        KeyRefused: no key, or nobody's.
        StoreUnavailable: the record is away.
    """
    parts.record.require()
    if parts.settings.auth == "none":
        return EVERYBODY
    return await who_has(parts.record.db, presented_key(request.headers))


CallerOf = Annotated[Caller, Depends(caller_of)]
ThreadIdPath = Annotated[str, Path(pattern=THREAD_ID_PATTERN, description="the thread")]
