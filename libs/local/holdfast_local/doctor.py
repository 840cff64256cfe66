"""What ``holdfast doctor`` looks at. It only reads; every question is bounded in time, and no answer is a finding.

Wall clocks decide nothing in Holdfast, so an offset between them is told and is no problem.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import httpx2
from nats.aio.client import Client

from holdfast.bus import heartbeats, names, topology
from holdfast.bus.connection import Link, close, connect, translated
from holdfast.errors import BusUnavailable, HoldfastError, SchemaMismatch
from holdfast.store import Database, schema
from holdfast_local.direct import without_password
from holdfast_local.listing import duration
from holdfast_local.where import THIS_MACHINE

_ANSWER_TIMEOUT_S = 3.0
_CLOCK_TOLERANCE_S = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``advice`` says what to do about a problem."""

    check: str
    ok: bool
    found: str
    advice: str | None = None


async def examine(*, postgres_url: str, nats_urls: Sequence[str], gateway_url: str) -> list[Finding]:
    """Every check, in the order in which problems should be mended."""
    groups = await asyncio.gather(_record(postgres_url), _bus(nats_urls), _gateway(gateway_url))
    return [finding for group in groups for finding in group]


async def _record(url: str) -> list[Finding]:
    database = Database(url, pool_size=1, timeout_s=_ANSWER_TIMEOUT_S)
    at = without_password(url)
    try:
        try:
            await database.fetchrow("ping")
        except (
            Exception
        ) as error:  # a wrong password, an unknown database: the driver's own words are the best there are
            return [Finding("postgres", False, f"{at}: {error}", "`holdfast up` starts one; --postgres names another")]
        return [
            Finding("postgres", True, f"{at} answers"),
            await _schema(database),
            await _record_clock(database),
        ]
    except HoldfastError as error:  # it went away just now
        return [Finding("postgres", False, f"{at}: {error}", "see its log, and ask again")]
    finally:
        await database.close()


async def _schema(database: Database) -> Finding:
    try:
        wrong = await schema.missing(database)
    except SchemaMismatch as newer:
        return Finding("schema", False, str(newer), "install the release that migrated it")
    if wrong:
        return Finding("schema", False, wrong, "services wait for it, and stop when it does not come")
    return Finding("schema", True, "fits this release")


async def _record_clock(database: Database) -> Finding:
    asked = datetime.now(UTC)
    row = await database.fetchrow("ping")
    assert row is not None
    return _clock("postgres", row["now"], asked)


async def _bus(urls: Sequence[str]) -> list[Finding]:
    at = ", ".join(map(without_password, urls))
    try:
        async with _connected(urls) as client:
            version = client.connected_server_version
            answers = Finding("nats", True, f"{at} answers ({version.major}.{version.minor}.{version.patch})")
            return [answers, *await _jetstream(client)]
    except (BusUnavailable, TimeoutError):
        found = f"{at} does not let us connect within {_ANSWER_TIMEOUT_S:g} s"
        return [
            Finding(
                "nats", False, found, "`holdfast up` starts one; --nats names another; runs wait in Postgres until then"
            )
        ]


@asynccontextmanager
async def _connected(urls: Sequence[str]) -> AsyncIterator[Client]:
    with translated():
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            client = await connect(urls, Link("doctor"))
    try:
        yield client
    finally:
        await close(client)


async def _jetstream(client: Client) -> list[Finding]:
    try:
        absent = await topology.missing(client)
    except HoldfastError as error:
        return [
            Finding("streams", False, f"JetStream does not answer: {error}", "start nats-server with JetStream (-js)")
        ]
    findings = [_streams(absent)]
    if names.BUCKET_STREAM not in absent:
        findings += await _pods(client)
    if names.EVENTS_STREAM not in absent:
        findings += await _bus_clock(client)
    return findings


def _streams(absent: Sequence[str]) -> Finding:
    if not absent:
        return Finding("streams", True, f"{names.REQUESTS_STREAM}, {names.EVENTS_STREAM} and the bucket {names.BUCKET}")
    advice = "a gateway, runner or reaper makes them when it starts: start one, or restart one that runs"
    return Finding("streams", False, f"missing: {', '.join(absent)}", advice)


async def _pods(client: Client) -> list[Finding]:
    try:
        beats = await heartbeats.read_all(client)
    except HoldfastError as error:
        return [Finding("pods", False, f"heartbeats cannot be read: {error}", "see the log of nats-server")]
    alive = [beat.heartbeat for beat in beats if beat.heartbeat is not None and not beat.heartbeat.goodbye]
    return [
        _kind_of_pod(
            "runner",
            [
                f"{pod.pod} ({_load(pod.running, pod.slots, draining=pod.draining)})"
                for pod in alive
                if pod.kind == "runner"
            ],
        ),
        _kind_of_pod("reaper", [pod.pod for pod in alive if pod.kind == "reaper"]),
    ]


def _load(running: int, slots: int, *, draining: bool) -> str:
    return f"{running} of {slots} slots" + (", draining" if draining else "")


def _kind_of_pod(kind: Literal["runner", "reaper"], alive: Sequence[str]) -> Finding:
    if alive:
        return Finding(f"{kind}s", True, f"{len(alive)} alive: {', '.join(sorted(alive))}")
    until_then = {"runner": "runs stay queued until then", "reaper": "nobody takes over from dead runners until then"}
    return Finding(
        f"{kind}s", False, "none is alive", f"`holdfast up` or `holdfast {kind}` starts one; {until_then[kind]}"
    )


async def _bus_clock(client: Client) -> list[Finding]:
    asked = datetime.now(UTC)
    try:
        with translated():
            answer = await client.request(f"$JS.API.STREAM.INFO.{names.EVENTS_STREAM}", b"", timeout=_ANSWER_TIMEOUT_S)
        told = json.loads(answer.data).get("ts")
    except BusUnavailable:
        return []
    return [_clock("nats", datetime.fromisoformat(told), asked)] if told else []


def _clock(whose: str, told: datetime, asked: datetime) -> Finding:
    """``told`` lies between ``asked`` and now, when both clocks agree."""
    midway = asked + (datetime.now(UTC) - asked) / 2
    offset_s = (told - midway).total_seconds()
    if abs(offset_s) <= _CLOCK_TOLERANCE_S:
        return Finding("clocks", True, f"{whose} and this machine agree")
    relation = "ahead of" if offset_s > 0 else "behind"
    found = f"{whose} is {duration(abs(offset_s))} {relation} this machine (no clock decides who owns a run)"
    return Finding("clocks", True, found)


async def _gateway(url: str) -> list[Finding]:
    try:
        trust_env = httpx2.URL(url).host not in THIS_MACHINE
        async with httpx2.AsyncClient(timeout=2 * _ANSWER_TIMEOUT_S, trust_env=trust_env) as client:
            answer = await client.get(f"{url.rstrip('/')}/readyz")
            told = answer.json()
    except (httpx2.TransportError, httpx2.InvalidURL):
        advice = "`holdfast up` or `holdfast gateway` starts one; --url names another"
        return [Finding("gateway", False, f"no gateway at {url}", advice)]
    except ValueError:
        return [Finding("gateway", False, f"what answers at {url} is no gateway", "name the gateway with --url")]
    if answer.is_success:
        return [Finding("gateway", True, f"{url} is ready")]
    reasons = "; ".join(map(str, told.get("reasons", ()))) or f"HTTP {answer.status_code}"
    return [
        Finding("gateway", False, f"{url} is not ready: {reasons}", "mend what is named above; it recovers by itself")
    ]
