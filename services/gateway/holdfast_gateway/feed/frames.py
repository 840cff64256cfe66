"""The feed's events as bytes. Pure: what is encoded here is encoded once for all followers of a tenant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from pydantic_core import to_json

from holdfast.store.feed import Change, ChangeId, Standing
from holdfast_gateway.http.models import Pod

NOT_KNOWN = b"null"
"""The pods, while this gateway cannot see them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of one tenant's runs, in order, each as its frame."""

    frames: Sequence[tuple[ChangeId, bytes]]
    payload: bytes
    upto: ChangeId

    @classmethod
    def of(cls, changes: Iterable[Change], upto: ChangeId) -> Batch:
        """Encode changes that lead to a place."""
        frames = [(change.place, change_frame(change)) for change in changes]
        return cls(frames, b"".join(frame for _, frame in frames), upto)

    def after(self, place: ChangeId) -> bytes:
        """The frames after a place; all of them as they are for who stands before the first."""
        if not self.frames or place < self.frames[0][0]:
            return self.payload
        return b"".join(frame for at, frame in self.frames if at > place)


def change_frame(change: Change) -> bytes:
    """``run.changed``."""
    data = {
        "run_id": change.run_id,
        "thread_id": change.thread_id,
        "agent": change.agent,
        "status": change.status,
        "attempt": change.attempt,
        "cancelling": change.cancelling,
        "at": change.at,
    }
    return b"id: %d-%d\nevent: run.changed\ndata: %s\n\n" % (*change.place, to_json(data))


def runs_member(standing: Standing) -> bytes:
    """What a ``snapshot`` says of runs; the same for all of a tenant's followers."""
    runs = [
        {
            "id": run.id,
            "thread_id": run.thread_id,
            "agent": run.agent,
            "status": run.status,
            "attempt": run.attempt,
            "cancelling": run.cancelling,
            "created_at": run.created_at,
            "at": run.at,
        }
        for run in standing.runs
    ]
    return b'"runs":%s,"more":%s' % (to_json(runs), b"true" if standing.more else b"false")


def snapshot_frame(place: ChangeId, runs: bytes, pods: bytes) -> bytes:
    """``snapshot``: replaces everything, and stands for a place."""
    return b'id: %d-%d\nevent: snapshot\ndata: {%s,"pods":%s}\n\n' % (*place, runs, pods)


def pods_frame(pods: bytes) -> bytes:
    """``pods``: all that are alive. Without an id, as all that is said of pods: the client's cursor stays."""
    return b'event: pods\ndata: {"pods":%s}\n\n' % pods


def pod_changed_frame(pod: Pod) -> bytes:
    """``pod.changed``: a pod that is new, or whose heartbeat says something new."""
    return b"event: pod.changed\ndata: %s\n\n" % pod_json(pod)


def pod_gone_frame(pod: str, boot: UUID) -> bytes:
    """``pod.gone``."""
    return b"event: pod.gone\ndata: %s\n\n" % to_json({"pod": pod, "boot": boot})


def pods_json(pods: Iterable[Pod]) -> bytes:
    """Pods as ``GET /v1/pods`` lists them."""
    return b"[%s]" % b",".join(map(pod_json, pods))


def pod_json(pod: Pod) -> bytes:
    """A pod as ``GET /v1/pods`` shows it."""
    return pod.model_dump_json(exclude_none=True).encode()
