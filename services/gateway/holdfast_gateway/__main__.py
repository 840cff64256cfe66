"""``python -m holdfast_gateway``: the gateway as a process, with its settings from the environment."""

from __future__ import annotations

from typing import NoReturn

from holdfast.service import main as serve
from holdfast.settings import GatewaySettings
from holdfast_gateway.service import build


def main() -> NoReturn:
    """Run until told to stop."""
    serve("gateway", GatewaySettings, build)


if __name__ == "__main__":
    main()
