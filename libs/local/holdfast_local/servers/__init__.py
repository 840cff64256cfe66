"""Postgres and NATS as child processes of this one: real servers, from Python wheels, on loopback."""

from __future__ import annotations

from holdfast_local.servers.nats import NatsServer
from holdfast_local.servers.postgres import PostgresServer

__all__ = ["NatsServer", "PostgresServer"]
