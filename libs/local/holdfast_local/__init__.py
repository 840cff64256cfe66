"""Holdfast on one machine: the ``holdfast`` command, the embedded servers, the supervised processes, the mock model."""
