"""What somebody who says ONLY=… gets."""

from __future__ import annotations

import pytest

from bench import __main__ as bench
from bench.cases import all_cases, chosen
from bench.figures import Case, Row, Say


async def _measure(rounds: int, say: Say) -> list[Row]:
    say(f"{rounds}")
    return []


CASES = {
    name: Case(_measure, 1) for name in ("runs.throughput", "runs.latency", "recovery.nats", "recovery.nats_leader")
}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ([], list(CASES)),
        (["runs"], ["runs.throughput", "runs.latency"]),
        (["recovery.nats"], ["recovery.nats"]),
        (["recovery.nats", "runs.latency"], ["runs.latency", "recovery.nats"]),
        (["runs.latency,recovery"], ["runs.latency", "recovery.nats", "recovery.nats_leader"]),
    ],
)
def test_a_name_stands_for_itself_and_for_all_below_it(wanted: list[str], names: list[str]) -> None:
    assert list(chosen(CASES, wanted)) == names


@pytest.mark.parametrize("unknown", ["run", "runs.through", "nats"])
def test_a_wrong_name_is_told_what_there_is(unknown: str) -> None:
    with pytest.raises(LookupError, match=r"runs\.throughput, runs\.latency, recovery\.nats"):
        chosen(CASES, ["runs", unknown])


@pytest.mark.parametrize(("name", "wrong"), [("ROUNDS", "many"), ("ROUNDS", "0"), ("ROUNDS", "-1"), ("SEED", "x")])
def test_a_wrong_number_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, wrong: str
) -> None:
    monkeypatch.setenv(name, wrong)
    monkeypatch.setattr("sys.argv", ["bench", "idle"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert f"{name}={wrong}: " in capsys.readouterr().err


def test_what_the_issue_wants_is_there() -> None:
    """The names that docs/performance.md and the README use."""
    there = set(all_cases())
    assert there >= {
        "runs.throughput",
        "runs.latency",
        "recovery.kill",
        "recovery.freeze",
        "steps",
        "waiting",
        "start",
        "idle",
    }
    assert there >= {"growth", "growth.queued", "streams.100", "recovery.nats", "recovery.links"}
    assert all(case.rounds > 0 for case in all_cases().values())
