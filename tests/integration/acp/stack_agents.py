"""The agent file of the runners in these tests. What differs between runs is in the run's input."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from holdfast_agent import Agent, Run
from holdfast_agent.acp import acp_agent
from holdfast_agent.agent import agent

_ROOT = Path(__file__).resolve().parents[3]


def _folder(run: Run) -> Path:
    return Path(os.environ["ACP_TEST_FOLDER"]) / run.thread_id


def _coder(run: Run) -> Agent:
    folder = _folder(run)
    env = {"ACP_SCRIPT": str(folder / "script.json"), "ACP_STATE": str(folder / "state"), "PYTHONPATH": str(_ROOT)}
    return acp_agent("coder", command=[sys.executable, "-m", "tests.support.acp_child"], cwd=folder / "work", env=env)


@agent("coder", on_unknown="retry", version="1")
async def coder(run: Run) -> object:
    """The scripted child, with a folder for each thread."""
    return await _coder(run).function(run)
