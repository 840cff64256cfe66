"""Metrics in the Prometheus form; each process has the ones that its service sets, all named ``holdfast_*``."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RUNS_CLAIMED = Counter("holdfast_runs_claimed", "Runs claimed by this pod.")
RUNS_ENDED = Counter("holdfast_runs_ended", "Runs that this process brought to an end.", ["status"])
RUNS_RELEASED = Counter("holdfast_runs_released", "Runs given back to the queue by their owner.")
RUNS_SUSPENDED = Counter(
    "holdfast_runs_suspended", "Runs that gave their slot back to wait for a person, a timer or a child."
)
RUNS_RUNNING = Gauge("holdfast_runs_running", "Runs in this pod's slots.")
OWNERSHIP_LOST = Counter("holdfast_ownership_lost", "Runs whose loss this pod noticed at a fenced write.")
REAPER_SEES = Gauge("holdfast_reaper_sees", "1 while this reaper may declare a death, 0 while it cannot see.")
RUNS_RECLAIMED = Counter("holdfast_runs_reclaimed", "Runs taken from a dead owner.", ["becomes"])
DEATHS = Counter("holdfast_pod_deaths", "Boots that were declared dead.", ["reason"])
FALSE_DEATHS = Counter("holdfast_pod_false_deaths", "Boots that lived on after they were declared dead; should stay 0.")
REQUESTS_RESTORED = Counter("holdfast_requests_restored", "Requests that the sweep had to publish again.")
SWEEP_FAILURES = Counter("holdfast_sweep_failures", "Sweeps that failed.", ["sweep"])
APPEND_SECONDS = Histogram(
    "holdfast_event_append_seconds",
    "An append to the event log, acknowledged.",
    buckets=(0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 15),
)
LOGS_LOST = Counter("holdfast_event_logs_lost", "Times that a run's event log was mended by a snapshot.")
VIEWERS = Gauge("holdfast_viewers", "Open event streams.")
TAILS = Gauge("holdfast_tails", "Runs that this gateway follows.")
FEED_HELD_BACK = Gauge(
    "holdfast_feed_held_back_seconds", "For how long a transaction that stays open has held back changes from the feed."
)
SUBMITS = Counter("holdfast_submits", "Runs accepted.", ["created"])
WEBHOOK_TRIES = Counter("holdfast_webhook_tries", "Tries to deliver to a webhook, by what came of them.", ["outcome"])
WEBHOOKS_OVERDUE = Gauge(
    "holdfast_webhooks_overdue_seconds", "For how long the oldest delivery to a webhook has been due."
)
