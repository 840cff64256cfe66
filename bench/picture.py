"""``python -m bench.picture report.json report.svg``: a bar chart of each comparison in the report. Runs in ``.venv-bench``."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import matplotlib as mpl

from bench import results
from bench.figures import OTHERS_MAX, Row

mpl.use("svg")
mpl.rcParams["svg.fonttype"] = "none"  # text stays text: small, and to be searched
mpl.rcParams["svg.hashsalt"] = "holdfast"  # the same report is the same picture

import matplotlib.pyplot as plt  # noqa: E402 - the settings come first

_OURS, _THEIRS = "#1f6feb", "#9aa4af"
_WIDTH, _BAR, _HEAD = 8.0, 0.26, 0.75  # inches
_TITLE_MAX = 95


def draw(kept: results.Results, path: Path) -> None:
    """Write the picture: a chart for each row that has bars. An empty report makes an empty picture."""
    shown = [(_title(name, measured, row), row) for name, measured in kept.items() for row in measured.rows if row.bars]
    heights = [_HEAD + _BAR * len(row.bars) for _, row in shown] or [_HEAD]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(_WIDTH, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axis, (title, row) in zip(axes[:, 0], shown, strict=False):
        labels = [label for label, _ in row.bars]
        figures = [value for _, value in row.bars]
        bars = axis.barh(range(len(labels)), figures, color=[_colour(label) for label in labels], height=0.7)
        axis.bar_label(bars, [f"{value:,.4g}" for value in figures], padding=3, fontsize=8)
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, max(figures) * 1.15 or 1)
        axis.tick_params(axis="x", labelsize=7)
        axis.set_title(title, fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _title(name: str, measured: results.Measured, row: Row) -> str:
    noisy = " (noisy)" if measured.noise > OTHERS_MAX else ""
    text = f"{name}: {row.what.replace('`', '')}, {row.unit}{noisy}"
    return "\n".join(textwrap.wrap(text, _TITLE_MAX))


def _colour(label: str) -> str:
    return _OURS if label.startswith("Holdfast") else _THEIRS


if __name__ == "__main__":
    draw(results.read(Path(sys.argv[1])), Path(sys.argv[2]))
