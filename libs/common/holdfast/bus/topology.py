"""Streams, consumers and the bucket: made or brought up to date, idempotently, at start and at every reconnect.

A failure here is an error that readiness shows, never a warning in a log (F08, F38).
"""

from __future__ import annotations

import asyncio
import contextlib

from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from holdfast.bus import names
from holdfast.bus.connection import translated

_DAY_S = 24 * 3600.0
_EVENT_CONSUMERS_MAX = 1000


def streams(replicas: int) -> list[StreamConfig]:
    """What the services need the server to have. Ages are in seconds."""
    return [
        StreamConfig(
            name=names.REQUESTS_STREAM,
            subjects=["runs.requests.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.MEMORY,  # wake-ups that the record can make again; see ADR 19 for what a file costs
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            num_replicas=replicas,
            allow_direct=True,
            duplicate_window=0,
        ),
        StreamConfig(
            name=names.EVENTS_STREAM,
            subjects=["runs.events.*"],
            storage=StorageType.FILE,
            max_age=_DAY_S,
            max_consumers=_EVENT_CONSUMERS_MAX,
            num_replicas=replicas,
            allow_direct=True,
            republish=RePublish(src="runs.events.*", dest="live.runs.{{wildcard(1)}}"),
        ),
        StreamConfig(
            name=names.BUCKET_STREAM,
            subjects=[f"$KV.{names.BUCKET}.>"],
            storage=StorageType.FILE,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            num_replicas=replicas,
            allow_rollup_hdrs=True,
            deny_delete=True,
            allow_direct=True,
            allow_msg_ttl=True,
            subject_delete_marker_ttl=60,
        ),
    ]


async def ensure(client: Client, *, replicas: int, timeout_s: float = 5.0) -> None:
    """Make every stream that is missing, and update one that differs.

    Raises:
        BusUnavailable: the server did not do it in time.
    """
    context = client.jetstream(timeout=timeout_s)
    with translated():
        async with asyncio.timeout(timeout_s):
            for config in streams(replicas):
                await _ensure_stream(context, config)


async def _ensure_stream(context: JetStreamContext, config: StreamConfig) -> None:
    try:
        await context.add_stream(config)
    except APIError as error:
        if error.err_code != 10058:  # "stream name already in use with a different configuration"
            raise
    else:
        return
    there = await context.stream_info(str(config.name))
    if config.name == names.REQUESTS_STREAM and there.config.storage != config.storage:
        # of an earlier release: how it is stored cannot be changed. Its requests are made again by the reaper's sweep
        with contextlib.suppress(NotFoundError):
            await context.delete_stream(names.REQUESTS_STREAM)
        await context.add_stream(config)
    else:
        await context.update_stream(config)


async def ensure_consumer(client: Client, pool: str, *, ack_wait_s: float = 5.0, timeout_s: float = 5.0) -> None:
    """The durable consumer that hands a pool's requests out, one delivery at a time, for ever until acked."""
    context = client.jetstream(timeout=timeout_s)
    with translated():
        await context.add_consumer(
            names.REQUESTS_STREAM,
            ConsumerConfig(
                durable_name=names.consumer(pool),
                filter_subject=f"runs.requests.{pool}.*",
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait_s,
                max_deliver=-1,
                max_ack_pending=10_000,
                max_waiting=2048,
            ),
        )


async def missing(client: Client) -> list[str]:
    """The names of streams that the server does not have (for `holdfast doctor` and readiness)."""
    context = client.jetstream(timeout=2.0)
    absent = []
    with translated():
        for config in streams(1):
            assert config.name is not None
            try:
                await context.stream_info(config.name)
            except NotFoundError:
                absent.append(config.name)
    return absent
