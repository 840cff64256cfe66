"""The whole of compose.yaml, up and healthy, for the tests of this folder.

Without a Docker engine they are skipped, and say so; on CI an engine that answers makes every later failure a failure.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator
from typing import NoReturn

import pytest

from tests.containers.compose import CommandFailed, Compose, compose_command, run
from tests.containers.images import images

_ON_CI = bool(os.environ.get("CI"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report ends with what the containers are and have printed."""
    report = yield
    system = item.funcargs.get("system") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(system, Compose):
        report.sections.append(("compose", system.story()))
    return report


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine and a compose."""
    try:
        run("docker", "info", timeout_s=20)
    except (CommandFailed, FileNotFoundError) as error:
        pytest.skip(f"no Docker engine to run containers on: {str(error).strip().splitlines()[-1]}")
    if compose_command() is None:
        _refuse("a Docker engine answers, but neither `docker compose` nor docker-compose is installed")


def _refuse(reason: str) -> NoReturn:
    (pytest.fail if _ON_CI else pytest.skip)(reason)


@pytest.fixture(scope="session")
def key() -> str:
    """The first key, which an operator would choose."""
    return secrets.token_hex(24)


@pytest.fixture(scope="session")
def system(engine: None, key: str) -> Iterator[Compose]:
    """compose.yaml, built from this tree and started; gone with its image and volumes afterwards."""
    try:
        named = images()
    except CommandFailed as error:
        _refuse(f"images can neither be pulled nor made here: {error}")
    name = f"holdfast-test-{secrets.token_hex(4)}"
    # All of it said, so that nothing of a developer's .env comes through: a real model, a port that is taken.
    own = {
        "HOLDFAST_BOOTSTRAP_KEY": key,
        "HOLDFAST_IMAGE": f"holdfast:{name}",
        "HOLDFAST_GATEWAY_1_PORT": "0",
        "HOLDFAST_GATEWAY_2_PORT": "0",
        "OPENAI_BASE_URL": "",
        "OPENAI_API_KEY": "",
        "HOLDFAST_MODEL": "",
    }
    compose = Compose(name, {**named, **own})
    compose("build", "migrate", timeout_s=300)
    try:
        yield from _up(compose)
    finally:
        # Its layers stay: they are what makes the next build a matter of seconds.
        run("docker", "image", "rm", "--no-prune", "--force", own["HOLDFAST_IMAGE"])


def _up(compose: Compose) -> Iterator[Compose]:
    try:
        try:
            compose("up", "--detach", timeout_s=180)
            compose.until_ready(timeout_s=90)
        except AssertionError:
            print(compose.story())
            raise
        yield compose
    finally:
        compose.down()
