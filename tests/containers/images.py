"""Which images the system in containers is made of: those named by HOLDFAST_BASE_IMAGE and its kin, else those that can be
pulled, else those made on this machine.

``python -m tests.containers.images`` has them made ahead, and Holdfast's own too, since from nothing that takes minutes.
"""

from __future__ import annotations

import os
import sys

from tests.containers.compose import CommandFailed, Compose, run

_KEY = {"HOLDFAST_BOOTSTRAP_KEY": "needed to read the file"}


def images() -> dict[str, str]:
    """The variables that name the images in compose.yaml; empty where its own defaults, or the environment's, can be had.

    Raises:
        CommandFailed: they can neither be pulled nor made; the message holds both reasons.
    """
    if os.environ.get("HOLDFAST_BASE_IMAGE"):
        return {}
    try:
        Compose("holdfast-pull", _KEY)("pull", "postgres", "nats", timeout_s=120)
    except CommandFailed as no_registry:
        try:
            made = run("deploy/local-images.sh", environment={"VENV": sys.prefix}, timeout_s=300)
        except CommandFailed as error:
            raise CommandFailed(f"{no_registry}\n{error}") from error
        return dict(line.split("=", 1) for line in made.splitlines())
    return {}


if __name__ == "__main__":
    Compose("holdfast-ahead", {**images(), **_KEY, "HOLDFAST_IMAGE": "holdfast:ahead"})(
        "build", "migrate", timeout_s=300
    )
