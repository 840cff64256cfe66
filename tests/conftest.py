"""Which of the slow tests run.

Tests marked ``slow`` start, kill and restart whole processes, many seconds each. A run of everything takes some files of
them, others each time; ``SLOW=1 make test`` takes all, ``SEED=…`` takes the same sample again. Who names a file, a test or
``-k`` gets all that match. Properties are tried with random examples, by the same fraction.
"""

from __future__ import annotations

import os
import random
import time

import pytest
from hypothesis import settings

from tests.support.samples import examples, fraction

_TAKEN = "HOLDFAST_TEST_SLOW_TESTS"  # "all" or "sample": what the session decided, for its workers


# no deadline, since machines are busy; a failure prints what reproduces it
settings.register_profile("holdfast", deadline=None, print_blob=True, derandomize=False, max_examples=examples(100))
settings.load_profile("holdfast")


def _takes_a_sample(config: pytest.Config) -> bool:
    """Nothing was named, so everything is meant."""
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.keyword and fraction() < 1


def pytest_configure(config: pytest.Config) -> None:
    """Decide once, before workers are made: they inherit the environment."""
    os.environ.setdefault("SEED", str(time.time_ns() % 1_000_000))
    if _TAKEN not in os.environ:
        os.environ[_TAKEN] = "sample" if _takes_a_sample(config) else "all"


def pytest_unconfigure(config: pytest.Config) -> None:
    """A session that is run by a test decides for itself."""
    if not hasattr(config, "workerinput"):
        os.environ.pop(_TAKEN, None)


def pytest_report_header() -> str:
    """Say what is left out, and how to get it."""
    if os.environ[_TAKEN] == "all":
        return f"slow tests: all, SEED={os.environ['SEED']}"
    return f"slow tests: {fraction():.0%} of them, chosen by SEED={os.environ['SEED']} (all of them: SLOW=1)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests that are not in the sample: the same ones in every worker."""
    if os.environ[_TAKEN] == "all":
        return
    slow = sorted((item for item in items if item.get_closest_marker("slow")), key=lambda item: item.nodeid)
    files = sorted({item.path for item in slow})
    random.Random(os.environ["SEED"]).shuffle(
        files
    )  # whole files, since what takes long is to start the servers of each
    slow.sort(key=lambda item: files.index(item.path))
    left_out = set(slow[round(len(slow) * fraction()) :])
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]
