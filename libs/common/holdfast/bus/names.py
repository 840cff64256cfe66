"""Names of streams, subjects, consumers and headers: in one place, since they are a contract between services."""

from __future__ import annotations

from uuid import UUID

REQUESTS_STREAM = "RUN_REQUESTS"
EVENTS_STREAM = "RUN_EVENTS"
BUCKET = "pod_heartbeats"
BUCKET_STREAM = f"KV_{BUCKET}"

ATTEMPT_HEADER = "Holdfast-Attempt"
BOOT_HEADER = "Holdfast-Boot"
LAST_HEADER = "Holdfast-Last-Id"
PART_HEADER = "Holdfast-Part"
PART_OF_HEADER = "Holdfast-Part-Of"


def request_subject(pool: str, run_id: UUID | str) -> str:
    """Where a run's request stands: one message at most."""
    return f"runs.requests.{pool}.{run_id}"


def consumer(pool: str) -> str:
    """The durable consumer that a pool's runners share."""
    return f"runners_{pool}"


def events_subject(run_id: UUID | str) -> str:
    """A run's event log."""
    return f"runs.events.{run_id}"


def live_subject(run_id: UUID | str) -> str:
    """Where a run's accepted events are republished."""
    return f"live.runs.{run_id}"


def ping_subject(pod: str, boot: UUID | str) -> str:
    """Answered by the heartbeat's connection of one boot, and by nobody when it is gone."""
    return f"pods.{pod}.{boot}.ping"


def control_subject(pod: str) -> str:
    """Words to a pod: cancels."""
    return f"pods.{pod}.control"


def heartbeat_key(name: str) -> str:
    """The subject of a key in the heartbeat bucket."""
    return f"$KV.{BUCKET}.{name}"
