"""The domain of a run: its states, its ownership, its event ids, its transcript. Pure: no I/O, no clock, no asyncio."""

from holdfast.runs.boot_lock import boot_lock_key
from holdfast.runs.event_id import QUEUED_ID, EventId
from holdfast.runs.fold import Fold
from holdfast.runs.state import (
    ACTIVE,
    TABLE,
    TERMINAL,
    Command,
    Lease,
    OnBusy,
    OnOwnerLost,
    Outcome,
    Owner,
    Refusal,
    RunState,
    Status,
    transition,
)

__all__ = [
    "ACTIVE",
    "QUEUED_ID",
    "TABLE",
    "TERMINAL",
    "Command",
    "EventId",
    "Fold",
    "Lease",
    "OnBusy",
    "OnOwnerLost",
    "Outcome",
    "Owner",
    "Refusal",
    "RunState",
    "Status",
    "boot_lock_key",
    "transition",
]
