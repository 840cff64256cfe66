"""The report: what is kept of cases, how one measured again replaces itself alone, and what a busy machine does to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import results
from bench.figures import OTHERS_MAX, Row, none_of
from bench.results import Measured, read, report, with_new, written

HOLDS = Row("a thing", "median 1 s", "≤ 2 s", holds=True, bars=(("Holdfast", 1.5), ("limit", 2.0)), unit="s")
FAILS = Row("another", "median 3 s", "≤ 2 s", holds=False)
ORDER = ["runs.throughput", "runs.latency", "steps"]


def measured(*rows: Row, others: float = 0.0, before: float = 0.0, at: str = "2026-01-02 03:04 UTC") -> Measured:
    """One case."""
    return Measured(at, 12.0, 3, 7, "Python 3.11; 2 cores", 0.5, before, others, rows)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    kept = {"steps": measured(HOLDS, FAILS, others=0.05), "idle": measured(none_of("deaths", 0, 20))}
    path = tmp_path / "report.json"
    path.write_text(written(kept), encoding="utf-8")
    assert read(path) == kept


def test_nothing_is_kept_before_the_first_time(tmp_path: Path) -> None:
    assert read(tmp_path / "report.json") == {}


@pytest.mark.parametrize("text", ["", '{"steps": {', '{"steps": {"at": "then"}}', '{"steps": 1}', "[]"])
def test_what_cannot_be_read_is_told_and_not_written_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match=r"report\.json cannot be read; move it"):
        read(tmp_path / "report.json")


def test_one_case_measured_again_leaves_the_others_as_they_were() -> None:
    old = {"steps": measured(HOLDS, at="old"), "runs.latency": measured(FAILS, at="old")}
    now = with_new(old, "runs.latency", measured(HOLDS, at="new"), ORDER)
    assert {name: each.at for name, each in now.items()} == {"runs.latency": "new", "steps": "old"}
    assert now["runs.latency"].rows == (HOLDS,)


def test_cases_stand_in_their_own_order_and_one_that_is_no_more_is_forgotten() -> None:
    old = {"steps": measured(HOLDS), "was.renamed": measured(HOLDS)}
    assert list(with_new(old, "runs.throughput", measured(HOLDS), ORDER)) == ["runs.throughput", "steps"]


def test_the_page_has_a_table_for_each_case_with_what_it_was_measured_with() -> None:
    page = report({"runs.latency": measured(HOLDS, others=0.04, before=0.02), "steps": measured(FAILS)})
    sections = page.split("\n## ")[1:]
    assert [section.partition("\n")[0] for section in sections] == ["runs.latency", "steps"]
    assert "| a thing | median 1 s | ≤ 2 s | yes |" in sections[0]
    assert "| another | median 3 s | ≤ 2 s | **no** |" in sections[1]
    for said in (
        "2026-01-02 03:04 UTC",
        "3 rounds",
        "seed 7",
        "2% of the machine before",
        "4% during",
        "load",
        "2 cores",
    ):
        assert said in sections[0], said


@pytest.mark.parametrize("where", ["before", "others"])
@pytest.mark.parametrize("row", [HOLDS, FAILS])
def test_a_noisy_figure_is_neither_good_nor_bad(row: Row, where: str) -> None:
    noisy = measured(row, **{where: OTHERS_MAX + 0.01})  # type: ignore[arg-type]
    assert "| *noisy* |" in report({"steps": noisy})
    assert not results.failed(noisy)


def test_a_figure_at_the_limit_of_noise_is_judged() -> None:
    assert results.failed(measured(FAILS, others=OTHERS_MAX))
    assert not results.failed(measured(HOLDS, others=OTHERS_MAX))


def test_what_must_never_happen_fails_however_busy_the_machine_is() -> None:
    busy = measured(none_of("events shown twice", 1, 20), others=0.9)
    assert results.failed(busy)
    assert "| 1 in 20 rounds | 0 | **no** |" in report({"steps": busy})


@pytest.mark.parametrize("wanted", ["told", "no target"])
def test_a_row_without_a_target_is_never_judged(wanted: str) -> None:
    told = Row("µs of computing", "12", wanted, holds=False)
    assert [told.verdict(others) for others in (0.0, 0.9)] == ["told", "noisy"]
    assert not results.failed(measured(told))
