"""Small parts of the local package: ports, the data folder, where agents' files are, the plan of ``holdfast up``."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from holdfast.errors import AddressInUse
from holdfast.settings import GatewaySettings, RunnerSettings
from holdfast_local.agent_modules import find_module, named_agents, refuse_if_absent
from holdfast_local.data_dir import DataDir, DataDirNotUsable, DataDirTaken
from holdfast_local.plan import UpOptions, gateway_ports, plan
from holdfast_local.ports import free_ports, is_free
from holdfast_local.reload import AgentFiles, where_modules_are
from holdfast_local.service import Service


def test_free_ports_are_free_different_and_below_the_ephemeral_range() -> None:
    ports = free_ports(300)
    assert len(set(ports)) == 300
    assert all(is_free(port) and port < 32_768 for port in ports)


def test_a_port_that_somebody_listens_on_is_refused() -> None:
    # below the ports that connections take, so that the neighbour stays free
    port = next(port for port in (free_ports(1)[0] for _ in range(1000)) if is_free(port - 1))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert not is_free(port)
        with pytest.raises(AddressInUse, match=str(port)):
            gateway_ports(UpOptions(data=Path("unused"), port=port - 1, gateways=2))
    assert is_free(port)


def test_the_data_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.refuse_if_taken()
    assert not data.path.exists()
    with data.locked():
        assert data.path.stat().st_mode & 0o066 == 0
        other = DataDir(data.path)
        with pytest.raises(DataDirTaken, match=f"pid {os.getpid()}"):
            other.refuse_if_taken()
        with pytest.raises(DataDirTaken), other.locked():
            pass
        data.write_addresses({"url": "http://127.0.0.1:1"})
        assert data.addresses.stat().st_mode & 0o077 == 0
    assert not data.addresses.exists()
    data.refuse_if_taken()


def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    log = data.log("a")
    log.write_bytes(b"x" * 17 * 1024 * 1024)
    assert not data.log("a").exists()
    assert (tmp_path / "logs" / "a.log.1").exists()


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    (tmp_path / "single.py").write_text("raise RuntimeError('must not be imported')\n")
    (tmp_path / "package" / "below").mkdir(parents=True)
    for path in ("package/__init__.py", "package/agents.py", "package/below/__init__.py"):
        (tmp_path / path).write_text("raise RuntimeError('must not be imported')\n")
    return tmp_path


def test_modules_are_found_without_importing_them(modules: Path) -> None:
    search_path = [str(modules)]
    assert where_modules_are(["single"], search_path) == ([modules], [])
    assert where_modules_are(["package"], search_path) == ([], [modules / "package"])
    assert where_modules_are(["package.below", "single:agent"], search_path) == ([modules], [modules / "package/below"])
    assert where_modules_are(["package.agents"], search_path) == ([modules / "package"], [])
    assert where_modules_are(["absent", "package.absent", "single.absent"], search_path) == ([], [])


def test_named_agents_are_found_in_packages_without_an_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loose" / "looser").mkdir(parents=True)
    (tmp_path / "loose" / "looser" / "mine.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.chdir(tmp_path)
    assert find_module("loose.looser.mine", [str(tmp_path)]) is not None
    refuse_if_absent(["loose.looser.mine", "loose/looser/mine.py", "holdfast_agent"])


def test_agents_are_named_by_the_option_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_AGENTS", "c, d,")
    assert named_agents(["a, b", "e"]) == ["a", "b", "e"]
    assert named_agents([]) == ["c", "d"]
    monkeypatch.delenv("HOLDFAST_AGENTS")
    assert named_agents([]) == []


def test_something_in_the_data_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(DataDirNotUsable, match=rf"cannot keep data in {tmp_path}: .*{tmp_path}/logs"):
        DataDir(tmp_path).log("a")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ('{"ready":false,"reasons":["agents of a: no\\nway","b"]}', "agents of a: no way"),
        ('{"ready":true,"reasons":[]}', '{"ready":true,"reasons":[]}'),
        ("cut", "cut"),
    ],
)
def test_the_first_reason_of_a_service(tmp_path: Path, told: str, reason: str) -> None:
    service = Service("s", "m", env={}, ready_port=1, log_path=tmp_path / "log", where="")
    service.not_ready_because = told
    assert service.first_reason == reason


def test_changes_of_agent_files_are_seen_once(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(modules)
    files = AgentFiles(["single", "package"])
    assert not files.changed()
    (modules / "package" / "below" / "new.py").touch()
    assert files.changed()
    assert not files.changed()
    (modules / "single.py").unlink()
    assert files.changed()


def test_the_plan_tells_each_service_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("HOLDFAST_DRAIN_GRACE_S", raising=False)
    options = UpOptions(data=tmp_path, gateways=2, runners=3, reapers=2, agents=("a", "b"), auth="keys", reload=True)
    laid_out = plan(options, DataDir(tmp_path), [18080, 18081])
    names = [service.name for service in laid_out.services]
    assert names == ["mock-model", "gateway-1", "gateway-2", "runner-1", "runner-2", "runner-3", "reaper-1", "reaper-2"]
    gateway, runner = laid_out.gateways[1].environment, laid_out.runners[2].environment
    assert (gateway["HOLDFAST_PORT"], gateway["HOLDFAST_AUTH"], gateway["HOLDFAST_HOST"]) == (
        "18081",
        "keys",
        "127.0.0.1",
    )
    assert (runner["POD_NAME"], runner["HOLDFAST_AGENTS"], runner["HOLDFAST_DRAIN_GRACE_S"]) == ("runner-3", "a,b", "1")
    assert runner["OPENAI_BASE_URL"] == laid_out.mock_model_url
    assert laid_out.url == "http://127.0.0.1:18080"
    health = [service.environment["HOLDFAST_HEALTH_PORT"] for service in [*laid_out.runners, *laid_out.reapers]]
    assert len(set(health)) == 5


def test_graces_are_waited_for_and_match_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_DRAIN_GRACE_S", raising=False)
    laid_out = plan(UpOptions(data=tmp_path), DataDir(tmp_path), [18080])
    assert laid_out.gateways[0].stop_timeout_s > GatewaySettings.model_fields["drain_grace_s"].default
    assert laid_out.runners[0].stop_timeout_s > RunnerSettings.model_fields["drain_grace_s"].default
    assert laid_out.runners[0].environment["HOLDFAST_DRAIN_GRACE_S"] == "25"
    monkeypatch.setenv("HOLDFAST_DRAIN_GRACE_S", "100")
    laid_out = plan(UpOptions(data=tmp_path), DataDir(tmp_path), [18080])
    assert min(laid_out.gateways[0].stop_timeout_s, laid_out.runners[0].stop_timeout_s) > 100


def test_the_plan_leaves_the_users_own_model_and_servers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    options = UpOptions(data=tmp_path, postgres_url="postgresql://p", nats_url="nats://n")
    laid_out = plan(options, DataDir(tmp_path), [18080])
    assert "OPENAI_BASE_URL" not in laid_out.runners[0].environment
    assert laid_out.postgres is None
    assert laid_out.nats is None
    assert (laid_out.postgres_url, laid_out.nats_url) == ("postgresql://p", "nats://n")
