"""``python -m holdfast_reaper``: the reaper as a process, with its settings from the environment."""

from __future__ import annotations

from typing import NoReturn

from holdfast import imports

with imports.lean():
    from holdfast.service import main as serve
    from holdfast.settings import ReaperSettings
    from holdfast_reaper.service import build


def main() -> NoReturn:
    """Run until told to stop."""
    serve("reaper", ReaperSettings, build)


if __name__ == "__main__":
    main()
