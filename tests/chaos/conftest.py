"""Chaos is seeded: SEED replays, ROUNDS says how long. Both are printed with every run."""

from __future__ import annotations

import os
import random

import pytest


def pytest_report_header() -> str:
    """The seed of this session, so that a failure can be replayed."""
    return f"chaos: SEED={_SEED} ROUNDS={_ROUNDS}"


_SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))
_ROUNDS = int(os.environ.get("ROUNDS") or 5)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """Random choices, the same for the same seed and test."""
    print(f"SEED={_SEED}")
    return random.Random(f"{_SEED} {request.node.name}")


@pytest.fixture
def seed() -> int:
    """The session's seed."""
    return _SEED


@pytest.fixture
def rounds() -> int:
    """How many rounds."""
    return _ROUNDS
