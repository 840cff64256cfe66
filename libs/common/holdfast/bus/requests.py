"""Requests: "this run wants a runner". Published after the record has the run; publishing again is harmless."""

from __future__ import annotations

from uuid import UUID

from faststream.nats import NatsBroker
from nats.js.errors import APIError

from holdfast.bus import names, publishing
from holdfast.bus.connection import translated
from holdfast.wire.messages import Control, RunRequest

_TO_THE_STREAM = {"Nats-Expected-Stream": names.REQUESTS_STREAM}
_SUBJECT_FULL = 10077  # "maximum messages per subject exceeded": the run has its request already


async def publish(
    broker: NatsBroker, pool: str, run_id: UUID, *, log_seq: int | None = None, timeout_s: float = 2.0
) -> bool:
    """Ask for a runner; ``log_seq`` as in :class:`RunRequest`. Returns False when the run has a request already.

    Raises:
        BusUnavailable: nobody knows whether the request is there; the reaper's sweep will see to it.
    """
    with translated():
        try:
            await publishing.publish(
                broker.connection,
                names.request_subject(pool, run_id),
                RunRequest(run_id=run_id, log_seq=log_seq).model_dump_json(exclude_none=True).encode(),
                headers=_TO_THE_STREAM,
                timeout_s=timeout_s,
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
