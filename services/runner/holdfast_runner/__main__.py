"""Entry of ``python -m holdfast_runner`` and ``holdfast runner``."""

from __future__ import annotations

from typing import NoReturn

from holdfast import imports

with imports.lean():
    from holdfast import service
    from holdfast.settings import RunnerSettings
    from holdfast_runner.service import build


def main() -> NoReturn:
    """Run a runner until it is told to stop."""
    service.main("runner", RunnerSettings, build)


if __name__ == "__main__":
    main()
