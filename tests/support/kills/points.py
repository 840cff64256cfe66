"""The boundaries of a step at which an owner may die, and how a process dies there: by SIGKILL, when a run asks for it.

A run asks in its input: ``{"kill": {"position": "3.0", "point": "in_work"}}``. That is heeded once, over all processes.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

KILLED_ENV = "HOLDFAST_TEST_KILLED"
"""A folder in which each run that was killed for has a file."""


class Point(StrEnum):
    """Where. For a step that waits, the intent is the opening of the wait and the checkpoint is the suspension."""

    BEFORE_INTENT = "before_intent"
    AFTER_INTENT = "after_intent"
    IN_WORK = "in_work"
    AFTER_WORK = "after_work"
    BEFORE_CHECKPOINT = "before_checkpoint"
    AFTER_CHECKPOINT = "after_checkpoint"


OF_WORK = tuple(Point)
OF_WAITS = (Point.BEFORE_INTENT, Point.AFTER_INTENT, Point.BEFORE_CHECKPOINT, Point.AFTER_CHECKPOINT)

wanted: dict[UUID, dict[str, Any]] = {}
"""What the runs of this process asked for."""


def reach(run_id: UUID, position: str, point: Point) -> None:
    """This process is at a boundary. It does not return if the run asked for a kill here that has not been."""
    asked = wanted.get(run_id)
    if asked is None or (asked["position"], asked["point"]) != (position, point):
        return
    try:
        (Path(os.environ[KILLED_ENV]) / str(run_id)).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
