"""Which system a command means: its options, the environment, a `holdfast up` in this folder, the defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.settings import LOOPBACK_HOSTS
from holdfast_local.data_dir import DataDir
from holdfast_local.direct import without_password
from holdfast_local.where import THIS_MACHINE, SettingNotUsable, gateway_url, nats_urls, postgres_url

UP = {"url": "http://127.0.0.1:9", "postgres_url": "postgresql://up:x@127.0.0.1/db", "nats_url": "nats://127.0.0.1:7"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOLDFAST_URL", "HOLDFAST_POSTGRES_URL", "HOLDFAST_NATS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_what_runs_here_comes_after_what_is_said_and_before_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path)
    assert gateway_url(None, tmp_path) == "http://127.0.0.1:8080"
    assert nats_urls(None, tmp_path) == ("nats://127.0.0.1:4222",)
    with data.locked():
        data.write_addresses(UP)
        assert gateway_url(None, tmp_path) == UP["url"]
        assert postgres_url(None, tmp_path) == UP["postgres_url"]
        assert nats_urls(None, tmp_path) == (UP["nats_url"],)
        monkeypatch.setenv("HOLDFAST_POSTGRES_URL", "postgresql://env")
        monkeypatch.setenv("HOLDFAST_NATS_URL", "nats://a, nats://b")
        assert postgres_url(None, tmp_path) == "postgresql://env"
        assert nats_urls(None, tmp_path) == ("nats://a", "nats://b")
        assert postgres_url("postgresql://said", tmp_path) == "postgresql://said"
        assert nats_urls("nats://said", tmp_path) == ("nats://said",)
        assert gateway_url("http://said", tmp_path) == "http://said"
    monkeypatch.delenv("HOLDFAST_POSTGRES_URL")
    assert postgres_url(None, tmp_path) == "postgresql://postgres@127.0.0.1:5432/postgres"


def test_what_a_killed_one_left_behind_is_not_believed(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.write_addresses(UP)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "lock").write_text(str(ended.pid))
    assert data.running_addresses() is None
    with data.locked():
        assert data.running_addresses() is None
    (tmp_path / "lock").write_text("")
    assert data.running_addresses() is None


def test_a_setting_that_cannot_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_POSTGRES_POOL_SIZE", "many")
    with pytest.raises(SettingNotUsable, match="HOLDFAST_POSTGRES_POOL_SIZE: Input should be a valid integer"):
        postgres_url(None, tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/db?sslmode=require", "postgresql://me@host:5432/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("nats://:token@host:4222", "nats://host:4222"),
        ("postgresql://me:p%40ss:word@host", "postgresql://me@host"),
    ],
)
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_this_machine_is_what_a_gateway_takes_for_it() -> None:
    assert THIS_MACHINE == LOOPBACK_HOSTS
