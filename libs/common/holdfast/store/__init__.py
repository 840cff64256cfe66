"""The record: every statement that Holdfast runs against Postgres, and nothing else.

Each write of a run is one statement in ``sql/``, guarded by (run, owner, attempt, status); it changes the row or returns
nothing, and nothing is an outcome with a name (:class:`holdfast.errors.LostOwnership`), never an error to retry.
"""

from holdfast.store.database import Database
from holdfast.store.rows import (
    AgentRow,
    Answered,
    AttemptRow,
    Claimed,
    Ended,
    Expiring,
    Finished,
    Journaled,
    JournalStep,
    KeptText,
    KeyRow,
    MessageRow,
    RunRow,
    TailRow,
    ThreadRow,
    WaitRow,
    Woken,
)

__all__ = [
    "AgentRow",
    "Answered",
    "AttemptRow",
    "Claimed",
    "Database",
    "Ended",
    "Expiring",
    "Finished",
    "JournalStep",
    "Journaled",
    "KeptText",
    "KeyRow",
    "MessageRow",
    "RunRow",
    "TailRow",
    "ThreadRow",
    "WaitRow",
    "Woken",
]
