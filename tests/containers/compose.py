"""compose.yaml under whichever compose this machine has, as a project of its own name.

Nothing here decides whether a test runs; a command that fails raises with all that it printed.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenacity import Retrying, stop_after_delay, wait_fixed

ROOT = Path(__file__).resolve().parents[2]
_METRICS = (
    "from urllib.request import urlopen as u; print(u('http://127.0.0.1:8080/metrics', timeout=3).read().decode())"
)


class CommandFailed(AssertionError):
    """A docker or compose command failed; the message holds the command, its exit code and its output."""


def run(*command: str, environment: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> str:
    """Run a command in the root of the repository and return what it printed on stdout.

    Raises:
        CommandFailed: it ended with another code than 0, or took longer than ``timeout_s``.
    """
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(
            f"{' '.join(command)}\ntook longer than {timeout_s} s\n{late.stdout!r}\n{late.stderr!r}"
        ) from late
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


@functools.cache
def compose_command() -> tuple[str, ...] | None:
    """``docker compose`` where the plugin is installed, else the older ``docker-compose``, else None."""
    try:
        run("docker", "compose", "version")
    except (CommandFailed, FileNotFoundError):
        return ("docker-compose",) if shutil.which("docker-compose") else None
    return ("docker", "compose")


def metric(container: str, name: str) -> float:
    """The value of a metric without labels, asked for inside a container of ours.

    Raises:
        CommandFailed: the container is not there, or its service does not answer.
        KeyError: the service has no such metric.
    """
    lines = run("docker", "exec", container, "python3", "-c", _METRICS).splitlines()
    return float(dict(line.split(" ", 1) for line in lines if not line.startswith("#") and " " in line)[name])


def log_lines(container: str) -> list[str]:
    """What a container has printed, on stdout and stderr."""
    return run("sh", "-c", 'docker logs "$0" 2>&1', container).splitlines()


@dataclass(frozen=True, slots=True)
class Compose:
    """One project: its containers, network and volumes carry ``project`` in their names."""

    project: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run a compose command in this project, without a developer's overrides; raises :class:`CommandFailed`."""
        command = compose_command()
        assert command is not None, "neither `docker compose` nor docker-compose is installed"
        return run(
            *command,
            *("--file", "compose.yaml", "--project-name", self.project),
            *arguments,
            environment=self.environment,
            timeout_s=timeout_s,
        )

    def address(self, service: str, port: int) -> str:
        """``host:port`` on this machine that leads to a container's published port."""
        return self("port", service, str(port)).strip()

    def inspect(self, service: str | None = None) -> list[dict[str, Any]]:
        """What the engine knows of the project's containers, stopped ones too; of one service, or of all."""
        labels = [f"label=com.docker.compose.project={self.project}"]
        labels += [f"label=com.docker.compose.service={service}"] if service else []
        filters = [word for label in labels for word in ("--filter", label)]
        found = run("docker", "ps", "--all", "--quiet", *filters).split()
        details: list[dict[str, Any]] = json.loads(run("docker", "inspect", *found)) if found else []
        return details

    def hosts(self, service: str) -> set[str]:
        """The host names of a service's containers, by which the engine's commands know them too."""
        return {str(each["Config"]["Hostname"]) for each in self.inspect(service)}

    def unready(self) -> dict[str, str]:
        """The containers that are not what they should be (healthy, or for the one-shot migrate gone), and what they are."""
        states = {
            str(each["Name"]).removeprefix("/"): str(each["State"].get("Health", each["State"]).get("Status"))
            for each in self.inspect()
        }
        return {
            name: state for name, state in states.items() if state != ("exited" if "migrate" in name else "healthy")
        }

    def until_ready(self, timeout_s: float) -> None:
        """Ask twice a second until every container is ready; fail naming those that are not."""
        for attempt in Retrying(stop=stop_after_delay(timeout_s), wait=wait_fixed(0.5), reraise=True):
            with attempt:
                unready = self.unready()
                assert not unready, f"not ready after {timeout_s} s: {unready}"

    def story(self) -> str:
        """What every container is and has last printed, for the report of a failure; never raises for want of an answer."""
        try:
            return self("ps") + self("logs", "--no-color", "--tail", "40")
        except CommandFailed as failed:
            return str(failed)

    def down(self) -> None:
        """Remove the project's containers, network and volumes."""
        self("down", "--volumes", "--remove-orphans", "--timeout", "10", timeout_s=120)
