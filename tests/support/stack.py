"""A whole Holdfast on real servers and real processes, for one test: started, looked at, killed, stopped.

Each service is an OS process with a name. A service may reach Postgres and NATS by way of a proxy of its own (``links``), so that
a test can cut one link of one pod.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2

from holdfast.store.migrate import migrate
from holdfast_local.ports import free_ports
from holdfast_local.servers import NatsServer, PostgresServer
from holdfast_local.service import Service
from tests.support.cluster import NatsCluster
from tests.support.proxy import Proxy
from tests.support.wait import wait_until

MODULES = {"gateway": "holdfast_gateway", "runner": "holdfast_runner", "reaper": "holdfast_reaper"}


@dataclass
class Links:
    """The proxies by which one service reaches the servers."""

    postgres: Proxy
    nats: Proxy


@dataclass
class Stack:
    """``async with Stack() as stack``: Postgres (migrated), NATS and the mock model run; services are added by :meth:`add`.

    With ``nats_nodes`` above 1, NATS is a ``cluster`` of so many, and streams have as many replicas; ``nats`` is its first node.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    nats_nodes: int = 1
    services: dict[str, Service] = field(default_factory=dict)
    links: dict[str, Links] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
        self.folder.chmod(0o711)
        self.postgres = PostgresServer(self.folder / "postgres")
        self.cluster = NatsCluster(self.folder, size=self.nats_nodes) if self.nats_nodes > 1 else None
        self.nats = NatsServer(self.folder / "nats") if self.cluster is None else self.cluster.nodes[0]
        try:
            await asyncio.gather(self.postgres.start(), (self.cluster or self.nats).start())
            await asyncio.to_thread(migrate, self.postgres.url)
            self.mock = self._service("mock-model", "holdfast_local.mock_model", {})
            await self.mock.start()
        except BaseException:
            await self.__aexit__()
            raise
        self.mock_url = f"http://{self.mock.where}/v1"
        self.http = httpx2.AsyncClient(timeout=10.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        for service in self.services.values():
            service.kill()
        if hasattr(self, "mock"):
            self.mock.kill()
        for links in self.links.values():
            await links.postgres.__aexit__()
            await links.nats.__aexit__()
        (self.cluster or self.nats).kill()
        self.postgres.kill()
        if hasattr(self, "http"):
            await self.http.aclose()
        if os.environ.get("HOLDFAST_TEST_KEEP"):
            print(f"kept {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _service(self, name: str, module: str, env: Mapping[str, str]) -> Service:
        port = free_ports(1)[0]
        own = {
            "HOLDFAST_MOCK_PORT": str(port),
            "HOLDFAST_PORT": str(port),
            "HOLDFAST_HEALTH_PORT": "0" if module == "holdfast_gateway" else str(port),
            "HOLDFAST_AUTH": "none",
            "HOLDFAST_LOG_LEVEL": "debug",
            "HOLDFAST_WARM_UP": "false",  # a second of computing time for each of the many runners
        }
        return Service(
            name,
            module,
            env={**own, **self.env, **env},
            ready_port=port,
            log_path=self.folder / f"{name}.log",
            where=f"127.0.0.1:{port}",
        )

    async def add(
        self, kind: str, name: str, env: Mapping[str, str] | None = None, *, proxied: bool = False, ready: bool = True
    ) -> Service:
        """Start a gateway, runner or reaper; ``env`` adds settings (``{"HOLDFAST_SLOTS": "1"}``)."""
        postgres_url, nats_url = self.postgres.url, (self.cluster or self.nats).url
        if proxied:
            links = Links(Proxy.before(postgres_url), Proxy.before(nats_url))
            await links.postgres.__aenter__()
            await links.nats.__aenter__()
            self.links[name] = links
            postgres_url, nats_url = links.postgres.url(postgres_url), links.nats.url(nats_url)
        service = self._service(
            name,
            MODULES[kind],
            {
                "HOLDFAST_POSTGRES_URL": postgres_url,
                "HOLDFAST_NATS_URL": nats_url,
                "HOLDFAST_NATS_REPLICAS": str(self.nats_nodes),
                "OPENAI_BASE_URL": self.mock_url,
                "OPENAI_API_KEY": "mock",
                **({"POD_NAME": name} if kind == "runner" else {}),
                **(env or {}),
            },
        )
        self.services[name] = service
        if ready:
            await service.start()
        else:
            await service.spawn()
        return service

    async def start(self, *, gateways: int = 1, runners: int = 2, reapers: int = 1) -> None:
        """Start that many of each, named ``gateway-1``, ``runner-1``, ``reaper-1`` and so on, all at once."""
        wanted = [("gateway", gateways), ("runner", runners), ("reaper", reapers)]
        await asyncio.gather(*(self.add(kind, f"{kind}-{n}") for kind, count in wanted for n in range(1, count + 1)))
        await self.until_reapers_see()

    async def until_reapers_see(self) -> None:
        """Wait until every reaper could declare a death: one TTL after its start."""
        for name in [name for name in self.services if name.startswith("reaper")]:

            async def sees(where: str = self.services[name].where) -> bool:
                return "holdfast_reaper_sees 1.0" in (await self.http.get(f"http://{where}/metrics")).text

            await wait_until(sees, description=f"{name} can see", timeout_s=30.0)

    def url(self, gateway: str = "gateway-1") -> str:
        """Where a gateway listens."""
        return f"http://{self.services[gateway].where}"

    async def submit(
        self, text: str, *, agent: str = "assistant", thread: str | None = None, **body: Any
    ) -> dict[str, Any]:
        """Submit a run; returns it."""
        path = f"/v1/threads/{thread}/runs" if thread else "/v1/runs"
        wanted = {"agent": agent, "input": {"messages": [{"role": "user", "content": text}]}, **body}
        answer = await self.http.post(self.url() + path, json=wanted)
        assert answer.status_code in (200, 202), answer.text
        return dict(answer.json())

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run as the API shows it."""
        answer = await self.http.get(f"{self.url()}/v1/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until_status(self, run_id: str, *statuses: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until the record shows one of these statuses."""
        seen: dict[str, Any] = {}

        async def reached() -> bool:
            seen.update(await self.run(run_id))
            return seen["status"] in statuses

        await wait_until(reached, description=f"run {run_id} is {' or '.join(statuses)}", timeout_s=timeout_s)
        return seen

    async def owner(self, run_id: str, *, timeout_s: float = 20.0) -> str:
        """The name of the runner that owns a run, once there is one."""
        return str((await self.until_status(run_id, "running", timeout_s=timeout_s))["run_owner_pod"])

    async def model_calls(self) -> int:
        """How often the mock model was called."""
        return int((await self.http.get(f"http://{self.mock.where}/calls")).json()["calls"])

    def logs(self, name: str) -> str:
        """What a service has logged so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")
