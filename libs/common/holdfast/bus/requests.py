"""Requests: "this run wants a runner". Published after the record has the run; publishing again is harmless."""

from __future__ import annotations

from uuid import UUID

from faststream.nats import NatsBroker
from nats.js.errors import APIError

from holdfast.bus import names
from holdfast.bus.connection import translated
from holdfast.wire.messages import Control, RunRequest

_SUBJECT_FULL = 10077  # "maximum messages per subject exceeded": the run has its request already


async def publish(broker: NatsBroker, pool: str, run_id: UUID, *, timeout_s: float = 2.0) -> bool:
    """Ask for a runner. Returns False when the run has a request already.

    Raises:
        BusUnavailable: nobody knows whether the request is there; the reaper's sweep will see to it.
    """
    with translated():
        try:
            await broker.publish(
                RunRequest(run_id=run_id),
                names.request_subject(pool, run_id),
                stream=names.REQUESTS_STREAM,
                timeout=timeout_s,
            )
        except APIError as error:
            if error.err_code == _SUBJECT_FULL:
                return False
            raise
    return True


async def control(broker: NatsBroker, pod: str, message: Control) -> None:
    """Tell a pod something, at most once: the record holds it too, and the pod looks there every 2 s."""
    with translated():
        await broker.publish(message, names.control_subject(pod))
