"""``make bench [ONLY=recovery.kill] [ROUNDS=20] [SEED=1]``: measure, print tables, write ``bench/report.md`` and its picture."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import others, results
from bench.cases import all_cases, chosen
from bench.figures import Case, Row, versions

_FOLDER = Path(__file__).parent
_KEPT, _PAGE, _PICTURE = (_FOLDER / name for name in ("report.json", "report.md", "report.svg"))
_PEERS_PYTHON = _FOLDER.parent / ".venv-bench" / "bin" / "python"
_BEFORE_S = 3.0
_INTERRUPTED = 130


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


def _asked_number(name: str, least: int) -> int | None:
    """What the environment says; None when it says nothing.

    Raises:
        ValueError: something that is no such number; the message is for the user.
    """
    text = os.environ.get(name)
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{name}={text}: a whole number is wanted, {least} or more")
    return int(text)


def _measured(name: str, case: Case, rounds: int, seed: int) -> results.Measured:
    """One case, and what else the machine did before and meanwhile."""
    before = others.quiet_for(_BEFORE_S)
    print(f"{name}, {rounds} rounds; others take {before:.0%} of the machine", flush=True)
    began_at = time.monotonic()

    async def measure() -> tuple[Row, ...]:
        return tuple(await case.measure(rounds, _say))

    with others.Watch() as watch:
        rows = asyncio.run(measure())
    return results.Measured(
        at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        took_s=time.monotonic() - began_at,
        rounds=rounds,
        seed=seed,
        machine=f"{versions()}; {os.cpu_count()} cores",
        load=os.getloadavg()[0],
        others_before=before,
        others=watch.share,
        rows=rows,
    )


def _keep(kept: results.Results) -> None:
    for path, text in ((_KEPT, results.written(kept)), (_PAGE, results.report(kept))):
        new = path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(path)  # whole, or as it was: a Ctrl-C may come in between


def _draw() -> None:
    """The picture, by a library that only the peers' environment has."""
    if not _PEERS_PYTHON.exists():
        print(f"no picture: {_PEERS_PYTHON.parent.parent.name} is not there; `make bench` makes it")
        return
    drawn = subprocess.run(
        [str(_PEERS_PYTHON), "-m", "bench.picture", str(_KEPT), str(_PICTURE)], cwd=_FOLDER.parent, check=False
    )
    if drawn.returncode != 0:
        print("no picture: it could not be drawn (see above)")


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run what was asked for. Returns 1 when a figure is not what it should be, or a case could not be measured."""
    cases = all_cases()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("only", nargs="*", help="names, or the part of names before a dot; see --list")
    parser.add_argument("--list", action="store_true", help="say what there is")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(cases))
        return 0
    try:
        wanted = chosen(cases, asked.only)
        rounds, seed = _asked_number("ROUNDS", 1), _asked_number("SEED", 0)
        kept: results.Results = results.read(_KEPT)
    except (LookupError, ValueError) as wrong:
        parser.error(str(wrong))
    if seed is None:
        seed = time.time_ns() % 1_000_000
    os.environ["SEED"] = str(seed)  # cases with dice read it
    signal.signal(signal.SIGTERM, _end)
    failed: list[str] = []
    code = measured_now = 0
    try:
        for name, case in wanted.items():
            try:
                measured = _measured(name, case, rounds or case.rounds, seed)
            except Exception as error:  # one that cannot be measured must not take the others along
                failed.append(name)
                print(f"{name} could not be measured: {type(error).__name__}: {error}", flush=True)
                continue
            kept = results.with_new(kept, name, measured, list(cases))
            _keep(kept)
            measured_now += 1
            print("\n".join(["", *results.table(measured), ""]), flush=True)
            if results.failed(measured):
                failed.append(name)
    except KeyboardInterrupt:
        print("\nstopped; what was measured until here is kept", flush=True)
        code = _INTERRUPTED
    if measured_now:
        _draw()
        print(f"written to {_PAGE.relative_to(_FOLDER.parent)}")
    if failed:
        print(f"not as it should be: {', '.join(failed)}")
    return code or (1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main())
