"""Stands in for a gateway, runner or reaper under ``holdfast up``: as little as has a name, is ready, and stops.

Run as a process. What it lived through goes to the file ``$STAND_IN_DIR/history``; files beside it tell it how to behave:
``exit-<name>`` (its text is the exit code at start), ``stubborn-<name>`` (SIGTERM is ignored),
``late-<name>`` (its text is the reason why it is not ready, for as long as the file is there).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("STAND_IN_DIR", "."))


def main(kind: str) -> None:
    """Serve ``/readyz`` until SIGTERM."""
    name = os.environ["POD_NAME"] if kind == "runner" else kind
    if (code := FOLDER / f"exit-{name}").exists():
        print(f"{name} does not want to start", file=sys.stderr)
        sys.exit(int(code.read_text()))
    version = ""
    if kind == "runner" and (agents := os.environ.get("HOLDFAST_AGENTS")):
        version = f" with {importlib.import_module(agents).VERSION}"
    _note(f"{name} started{version}")
    asyncio.run(_serve(name, int(os.environ["HOLDFAST_PORT" if kind == "gateway" else "HOLDFAST_HEALTH_PORT"])))
    _note(f"{name} ended")


def _note(what: str) -> None:
    with (FOLDER / "history").open("a") as history:
        history.write(what + "\n")


async def _serve(name: str, port: int) -> None:
    stop = asyncio.Event()
    stubborn = (FOLDER / f"stubborn-{name}").exists()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, (lambda: None) if stubborn else stop.set)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        if (late := FOLDER / f"late-{name}").exists():
            reasons = json.dumps({"ready": False, "reasons": [late.read_text()]})
            writer.write(f"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n{reasons}".encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nready\n")
        writer.close()

    await asyncio.start_server(answer, "127.0.0.1", port)
    await stop.wait()
