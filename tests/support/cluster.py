"""A NATS cluster as processes on loopback: nodes that elect leaders, one by one to be killed, frozen and started again.

It knows servers and streams and nothing of Holdfast. Clients are told all nodes and nothing but these: a node does not advertise
the others, so that a proxy before one of them is not gone around.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx2
import nats
import nats.errors
import nats.js.errors

from holdfast_local.ports import LOOPBACK, free_ports
from holdfast_local.servers import NatsServer
from tests.support.wait import wait_until

_CLUSTER = """
server_name: {name}
cluster {{
  name: holdfast
  listen: "{host}:{port}"
  routes: [{routes}]
  no_advertise: true
}}
"""


class ClusterNode(NatsServer):
    """One node. Only with a majority of its peers is it ready: it asks JetStream's API, which wants a leader."""

    def __init__(self, name: str, data_dir: Path, *, cluster_port: int, peer_ports: Sequence[int]) -> None:
        super().__init__(data_dir)
        self.name = name
        self._cluster_port = cluster_port
        self._peer_ports = tuple(peer_ports)

    async def _prepare(self) -> None:
        """The same as one server alone has, and the cluster; of what a file says twice, a server takes the last."""
        await super()._prepare()
        routes = ", ".join(f'"nats-route://{LOOPBACK}:{port}"' for port in self._peer_ports)
        with self._config_path.open("a") as config:
            config.write(_CLUSTER.format(name=self.name, host=LOOPBACK, port=self._cluster_port, routes=routes))


class NatsCluster:
    """Nodes ``nats-1`` and so on, not started. ``nodes`` are servers like any other: kill, pause, start them one by one."""

    def __init__(self, folder: Path, *, size: int = 3) -> None:
        names = [f"nats-{number}" for number in range(1, size + 1)]
        ports = free_ports(size)
        self.nodes = [
            ClusterNode(name, folder / name, cluster_port=port, peer_ports=[each for each in ports if each != port])
            for name, port in zip(names, ports, strict=True)
        ]

    @property
    def url(self) -> str:
        """All nodes, for ``HOLDFAST_NATS_URL``."""
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        """Start the nodes that do not run, and return when each of them has a leader to ask."""
        await asyncio.gather(*(node.start() for node in self.nodes))

    def kill(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.kill()

    async def leader(self, stream: str, *, timeout_s: float = 30.0) -> ClusterNode:
        """The node that leads a stream, once there is one."""
        found: list[ClusterNode] = []
        live = [node.url for node in self.nodes if node.pid is not None]
        client = await nats.connect(servers=list(live), max_reconnect_attempts=-1, connect_timeout=2)
        try:

            async def told() -> bool:
                with suppress(nats.errors.Error, nats.js.errors.Error):
                    info = await client.jetstream(timeout=1.0).stream_info(stream)
                    leader = info.cluster.leader if info.cluster is not None else None
                    found.extend(node for node in self.nodes if node.name == leader and node.pid is not None)
                return bool(found)

            await wait_until(told, description=f"stream {stream} has a leader", timeout_s=timeout_s)
        finally:
            await client.close()
        return found[0]

    async def until_whole(self, *, timeout_s: float = 60.0) -> None:
        """Wait until every node says that it is healthy: it has its streams and consumers, and is up to date with them."""
        async with httpx2.AsyncClient(timeout=2.0) as http:

            async def healthy() -> bool:
                with suppress(httpx2.HTTPError):
                    answers = [await http.get(f"{node.monitor_url}/healthz") for node in self.nodes]
                    return all(answer.status_code == 200 for answer in answers)
                return False

            await wait_until(healthy, description="every node of the cluster is healthy", timeout_s=timeout_s)
