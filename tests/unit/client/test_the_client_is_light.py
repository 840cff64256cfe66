"""Who imports the client gets none of what the servers need."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "alembic", "asyncpg", "faststream", "granian", "nats", "openai", "prometheus_client", "psycopg", "pydantic_settings",
    "sqlalchemy", "starlette", "structlog", "uvloop",
}  # fmt: skip
OURS = {"holdfast", "holdfast.runs", "holdfast.wire", "holdfast_client"}


def test_importing_the_client_imports_nothing_of_the_servers() -> None:
    code = "import sys, json, holdfast_client.sync; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    loaded = set(json.loads(ran.stdout))
    assert loaded & HEAVY == set()
    packages = {".".join(name.split(".")[:2]) for name in loaded if name.split(".")[0] == "holdfast"}
    assert packages <= OURS
    assert not {name.split(".")[0] for name in loaded if name.startswith("holdfast_")} - {"holdfast_client"}
