"""``python -m holdfast_gateway``: the gateway as a process, with its settings from the environment."""

from __future__ import annotations

import gc
from typing import NoReturn

from holdfast import imports

with imports.lean():
    from holdfast.service import main as serve
    from holdfast.settings import GatewaySettings
    from holdfast_gateway.service import build

_COLLECT_AFTER = (50_000, 20, 100)
"""Five thousand viewers are over a million objects, nearly none of them garbage. With the interpreter's own thresholds a full
collection walks them every few seconds, half a second each; with these an event costs half as much (docs/performance.md)."""


def main() -> NoReturn:
    """Run until told to stop."""
    gc.set_threshold(*_COLLECT_AFTER)
    serve("gateway", GatewaySettings, build)


if __name__ == "__main__":
    main()
