"""The folding rule on runs whose owners die anywhere: a viewer ends with what the record holds, each step once."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.runs import Fold
from tests.support.samples import examples
from tests.unit.runs.scripted_run import Line, ScriptedRun, scripted_runs


def read(lines: Iterable[Line], viewer: Fold | None = None) -> Fold:
    viewer = viewer or Fold()
    for line in lines:
        viewer.apply(line.id, line.type, line.data)
    return viewer


@given(scripted_runs())
@settings(max_examples=examples(200))
def test_a_viewer_ends_with_what_the_record_holds(run: ScriptedRun) -> None:
    viewer = read(run.log)
    assert viewer.text == run.text()
    assert viewer.ending is not None
    assert viewer.ending.type == "run.completed"


@given(scripted_runs(), st.data())
def test_whoever_reads_parts_again_sees_the_same(run: ScriptedRun, data: st.DataObject) -> None:
    """A reconnect replays from any earlier point, a tail reads its backlog and the live subject both."""
    viewer, at = Fold(), 0
    for back in data.draw(st.lists(st.integers(0, len(run.log)), max_size=5)):
        ahead = data.draw(st.integers(at, len(run.log)))
        read(run.log[max(0, at - back) : ahead], viewer)
        at = ahead
    read(run.log[at:], viewer)
    assert viewer == read(run.log)


_WORDS = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from(["text.delta", "step.started", "run.completed"])), max_size=5
)


@given(scripted_runs(), st.data())
def test_a_zombies_late_words_change_nothing(run: ScriptedRun, data: st.DataObject) -> None:
    """Whatever its attempt's ids, they are below the first of the attempt that took over."""
    if not run.resumed_at:
        return
    takeover = run.log[data.draw(st.sampled_from(run.resumed_at))]
    words = [
        Line(
            takeover.id._replace(attempt=takeover.id.attempt - 1, n=n), event_type, {"position": "0", "text": "zombie"}
        )
        for n, event_type in data.draw(_WORDS)
    ]
    at = run.log.index(takeover) + 1
    assert read([*run.log[:at], *words, *run.log[at:]]) == read(run.log)


@given(scripted_runs())
@settings(max_examples=examples(300))
def test_right_after_a_takeover_a_viewer_shows_nothing_unfinished(run: ScriptedRun) -> None:
    for at in run.resumed_at:
        viewer = read(run.log[: at + 1])
        keep = run.log[at].data["keep_through"]
        open_positions = {item.position for item in viewer.items} - {
            item.position for item in viewer.items if item.type == "step.completed"
        }
        assert open_positions <= {None}
        assert all(str(item.id) == keep or item.id < run.log[at].id for item in viewer.items)


@given(scripted_runs(widest=1))
def test_a_viewer_who_joined_by_a_snapshot_ends_with_the_same_text(run: ScriptedRun) -> None:
    """A gateway whose log is gone makes one from the record, at the newest finished step, and goes on with the log."""
    for at, record in zip(run.resumed_at, run.records, strict=True):
        if not record:
            continue
        newest = max(step.last_event_id for step in record.values())
        before = read(line for line in run.log[: at + 1])
        said: dict[str, str] = {}
        for position, step in sorted(record.items()):
            already = "".join(said.values())
            shown = "".join(
                str(item.data["text"])
                for item in before.items
                if item.type == "text.delta" and item.id <= step.last_event_id
            )
            said[position] = shown.removeprefix(already)
        steps = [
            {"position": p, "last_event_id": str(record[p].last_event_id), "text": said[p]} for p in sorted(record)
        ]
        joined = read([Line(newest, "snapshot", {"run": {}, "steps": steps})])
        assert read((line for line in run.log if line.id > newest), joined).text == run.text()
