"""What ``holdfast up`` starts, and what each process is told through its environment. Starts nothing itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from holdfast.errors import AddressInUse
from holdfast_local.agent_modules import named_agents
from holdfast_local.data_dir import DataDir
from holdfast_local.ports import LOOPBACK, free_ports, is_free
from holdfast_local.servers import NatsServer, PostgresServer
from holdfast_local.service import Service

DATA_VARIABLE = "HOLDFAST_UP_DATA"  # every service of one `up` carries it, so that a later one knows what is left over
RELOAD_DRAIN_GRACE_S = 1.0
GATEWAY_DRAIN_GRACE_DEFAULT_S = 5.0  # as in holdfast.settings, whose import would cost `holdfast up` 0.1 s
RUNNER_DRAIN_GRACE_DEFAULT_S = 25.0
_STOP_MARGIN_S = 8.0  # what a service may take to stop beyond its own grace before it is killed


@dataclass(frozen=True)
class UpOptions:
    """The command's options. ``port`` 0 means a free one; ``postgres_url`` and ``nats_url`` name servers to use instead
    of our own."""

    data: Path
    port: int = 8080
    gateways: int = 1
    runners: int = 2
    reapers: int = 1
    agents: tuple[str, ...] = ()
    auth: str = "none"
    reload: bool = False
    restart: bool = True
    postgres_url: str | None = None
    nats_url: str | None = None


@dataclass(frozen=True)
class Plan:
    """The processes, each kind in the order of their numbers. A server that is not ours is None."""

    postgres: PostgresServer | None
    nats: NatsServer | None
    mock_model: Service
    gateways: Sequence[Service]
    runners: Sequence[Service]
    reapers: Sequence[Service]
    url: str
    mock_model_url: str
    options: UpOptions = field(repr=False)

    @property
    def postgres_url(self) -> str:
        """Ours has its password after its start."""
        return self.postgres.url if self.postgres else self.options.postgres_url or ""

    @property
    def nats_url(self) -> str:
        """Of whichever server is used."""
        return self.nats.url if self.nats else self.options.nats_url or ""

    @property
    def services(self) -> list[Service]:
        """Everything that is Holdfast's own."""
        return [self.mock_model, *self.gateways, *self.runners, *self.reapers]


def gateway_ports(options: UpOptions) -> list[int]:
    """One port per gateway, counting up from the first.

    Raises:
        AddressInUse: somebody listens on one of them.
    """
    if options.port == 0:
        return free_ports(options.gateways)
    ports = [options.port + index for index in range(options.gateways)]
    for port in ports:
        if not is_free(port):
            raise AddressInUse(LOOPBACK, port)
    return ports


def plan(options: UpOptions, data: DataDir, ports: Sequence[int]) -> Plan:
    """Lay everything out; ``ports`` are the gateways'."""
    free = iter(free_ports(4 + options.runners + options.reapers, excluding=ports))
    postgres = None
    if options.postgres_url is None:
        postgres = PostgresServer(data.postgres, next(free), log_path=data.log("postgres"))
    nats = None
    if options.nats_url is None:
        nats = NatsServer(data.nats, next(free), monitor_port=next(free), log_path=data.log("nats"))
    mock_port = next(free)
    maker = _ServiceMaker(options, data)
    mock_model_url = f"http://{LOOPBACK}:{mock_port}/v1"
    return Plan(
        postgres=postgres,
        nats=nats,
        mock_model=maker.mock_model(mock_port),
        gateways=[maker.gateway(number, port) for number, port in enumerate(ports, 1)],
        runners=[maker.runner(number, next(free), mock_model_url) for number in range(1, options.runners + 1)],
        reapers=[maker.reaper(number, next(free)) for number in range(1, options.reapers + 1)],
        url=f"http://{LOOPBACK}:{ports[0]}",
        mock_model_url=mock_model_url,
        options=options,
    )


class _ServiceMaker:
    """Services with the environment that ``up`` gives them. What the user has set stays, except what ``up`` decides."""

    def __init__(self, options: UpOptions, data: DataDir) -> None:
        self._options = options
        self._data = data

    def mock_model(self, port: int) -> Service:
        env = {"HOLDFAST_MOCK_HOST": LOOPBACK, "HOLDFAST_MOCK_PORT": str(port)}
        where = f"http://{LOOPBACK}:{port}/v1"
        return self._service("mock-model", "holdfast_local.mock_model", env, ready_port=port, where=where)

    def gateway(self, number: int, port: int) -> Service:
        env = {"HOLDFAST_HOST": LOOPBACK, "HOLDFAST_PORT": str(port), "HOLDFAST_HEALTH_PORT": "0"}
        env["HOLDFAST_AUTH"] = self._options.auth
        where = f"http://{LOOPBACK}:{port}"
        grace_s = _drain_grace_s(GATEWAY_DRAIN_GRACE_DEFAULT_S)
        return self._service(
            f"gateway-{number}", "holdfast_gateway", env, ready_port=port, where=where, grace_s=grace_s
        )

    def runner(self, number: int, health_port: int, mock_model_url: str) -> Service:
        name = f"runner-{number}"
        grace_s = RELOAD_DRAIN_GRACE_S if self._options.reload else _drain_grace_s(RUNNER_DRAIN_GRACE_DEFAULT_S)
        env = {**_health(health_port), "POD_NAME": name, "HOLDFAST_DRAIN_GRACE_S": f"{grace_s:g}"}
        if self._options.agents:
            env["HOLDFAST_AGENTS"] = ",".join(named_agents(self._options.agents))
        if not os.environ.get("OPENAI_BASE_URL"):
            env["OPENAI_BASE_URL"] = mock_model_url
            env["OPENAI_API_KEY"] = os.environ.get("OPENAI_API_KEY") or "mock"
        if self._options.reload:
            # Byte code is matched by its source's whole second and size: two quick saves could run the first one's.
            env["PYTHONDONTWRITEBYTECODE"] = "1"
        return self._service(name, "holdfast_runner", env, ready_port=health_port, grace_s=grace_s)

    def reaper(self, number: int, health_port: int) -> Service:
        return self._service(f"reaper-{number}", "holdfast_reaper", _health(health_port), ready_port=health_port)

    def _service(
        self, name: str, module: str, env: dict[str, str], *, ready_port: int, where: str = "", grace_s: float = 0.0
    ) -> Service:
        return Service(
            name,
            module,
            env={**env, DATA_VARIABLE: str(self._data.path)},
            ready_port=ready_port,
            log_path=self._data.log(name),
            where=where or f"{LOOPBACK}:{ready_port} (health)",
            stop_timeout_s=grace_s + _STOP_MARGIN_S,
        )


def _health(port: int) -> dict[str, str]:
    return {"HOLDFAST_HEALTH_HOST": LOOPBACK, "HOLDFAST_HEALTH_PORT": str(port)}


def _drain_grace_s(default_s: float) -> float:
    return float(os.environ.get("HOLDFAST_DRAIN_GRACE_S") or default_s)


def give_servers(services: Iterable[Service], *, postgres_url: str, nats_url: str) -> None:
    """Tell services where the servers are; Postgres's password is made at its first start."""
    for service in services:
        service.environment |= {"HOLDFAST_POSTGRES_URL": postgres_url, "HOLDFAST_NATS_URL": nats_url}
