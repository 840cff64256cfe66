"""What is measured of runs."""

from __future__ import annotations

from bench.figures import Case
from bench.runs.latency import latency
from bench.runs.throughput import throughput

CASES = {"runs.throughput": Case(throughput, 3), "runs.latency": Case(latency, 1)}
