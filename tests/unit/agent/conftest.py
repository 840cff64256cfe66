"""Hypothesis here: no deadline (machines are busy), and a failure prints what reproduces it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("holdfast", deadline=None, print_blob=True)
settings.load_profile("holdfast")
