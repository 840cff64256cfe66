"""What real servers and processes did, replayed: each file in ``traces/`` must give exactly the deaths that it lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast_reaper.detector import Detector, DetectorSettings, detect
from tests.unit.reaper.replay import TRACES, load
from tests.unit.reaper.script import SETTINGS


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_recorded_trace_gives_its_deaths_and_no_other(path: Path) -> None:
    recording = load(path)
    deaths = detect(recording.events, SETTINGS)
    assert [(death.pod, death.reason) for death in deaths] == [(each.pod, each.reason) for each in recording.deaths]
    for death, expected in zip(deaths, recording.deaths, strict=True):
        assert expected.not_before_s <= death.declared_at <= expected.not_after_s


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_recorded_trace_tells_who_is_alive_again(path: Path) -> None:
    recording, detector, disproved = load(path), Detector(SETTINGS), []
    for event in recording.events:
        death = detector.observe(event)
        if death is not None:
            disproved.append(death.pod)
        detector.verdicts(event.at)
    assert tuple(disproved) == recording.alive_again


def test_a_recorded_kill_is_found_by_the_ttl_alone_where_sessions_are_not_to_be_had() -> None:
    (path,) = (path for path in TRACES if path.stem == "killed_pod")
    (death,) = detect(load(path).events, DetectorSettings(probe_sessions=False))
    assert death.reason == "silent"
    assert death.last_change_at is not None
    assert 5.0 <= death.declared_at - death.last_change_at <= 5.5


def test_there_are_recordings() -> None:
    assert len(TRACES) >= 10
