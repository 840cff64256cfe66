"""``python -m holdfast_local.mock_model``: serve on ``HOLDFAST_MOCK_HOST`` (127.0.0.1) and ``HOLDFAST_MOCK_PORT`` (8090)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from holdfast.errors import AddressInUse
from holdfast.http import serving
from holdfast_local.mock_model.app import build

_STOP_TIMEOUT_S = 1.0


async def _serve(host: str, port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with serving(build(stopping), host, port, stop_timeout_s=_STOP_TIMEOUT_S):
        sys.stdout.write(f"mock model at http://{host}:{port}/v1\n")
        sys.stdout.flush()
        await stopping.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit 1 when the port is taken."""
    host = os.environ.get("HOLDFAST_MOCK_HOST") or "127.0.0.1"
    port = int(os.environ.get("HOLDFAST_MOCK_PORT") or 8090)
    try:
        asyncio.run(_serve(host, port))
    except AddressInUse as taken:
        sys.exit(str(taken))
    # granian's threads may still run; one that meets an interpreter which is being torn down panics (seen after a client
    # had gone away). Nothing is left to do here that they could disturb.
    os._exit(0)


if __name__ == "__main__":
    main()
