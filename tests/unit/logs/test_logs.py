"""What a log must not tell."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
from holdfast import logs
logs.configure("info", sys.argv[1])
def send(secret):
    raise RuntimeError("a bug")
try:
    send("whsec_" + "hidden")
except RuntimeError:
    logs.get_logger("x").exception("it.failed", secret="whsec_" + "field")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_values_and_a_secret_is_no_field(form: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _PROGRAM, form], capture_output=True, text=True, timeout=30, check=True
    ).stderr
    assert "a bug" in said
    assert "whsec_hidden" not in said
    assert "whsec_field" not in said
