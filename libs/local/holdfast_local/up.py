"""``holdfast up``: every process of one machine, started in order, watched, stopped in order.

Order of start: the servers and the mock model at once; then the migration and all the services, which wait for the schema
themselves and have their imports behind them by then. Order of stop: gateways, runners (they hand their runs over), reapers,
mock model, NATS, Postgres.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.errors import HoldfastError, Terminal
from holdfast_local.agent_modules import named_agents, refuse_if_absent
from holdfast_local.child import Child, log_tail
from holdfast_local.data_dir import DataDir, DataDirNotUsable
from holdfast_local.leftovers import end_leftovers, has_in_environment
from holdfast_local.plan import DATA_VARIABLE, Plan, UpOptions, gateway_ports, give_servers, plan
from holdfast_local.ports import LOOPBACK
from holdfast_local.process import Process
from holdfast_local.reload import AgentFiles, reload_on_change
from holdfast_local.service import Service
from holdfast_local.supervised import NeverReady, Supervised
from holdfast_local.where import DATA_DEFAULT, THIS_MACHINE

READY_TIMEOUT_S = 60.0
LATE_AFTER_S = 3.0
REAPER_LATE_AFTER_S = 9.0  # one is ready after a heartbeat's TTL of clear sight, 5 s unless told otherwise
EXIT_INTERRUPTED = 130

Say = Callable[[str], None]


class UpFailed(Terminal):
    """Something did not come up, and the message says why."""


class Machine:
    """The processes of one ``up``."""

    def __init__(self, plan: Plan, data: DataDir, say: Say) -> None:
        self._plan = plan
        self._data = data
        self._say = say
        restart = plan.options.restart
        servers: list[Process] = [server for server in (plan.postgres, plan.nats) if server is not None]
        self._servers = [Supervised(server, say=say, restart=restart) for server in servers]
        self._services = [Supervised(service, say=say, restart=restart) for service in plan.services]
        self._migration: Child | None = None
        self._migrated = asyncio.Event()
        self.stopping = False

    async def run(self) -> None:
        """Bring everything up and keep it so until cancelled; nothing runs any more when this returns.

        Raises:
            UpFailed, NeverReady, ProcessStartFailed: something did not come up.
        """
        files = AgentFiles(named_agents(self._plan.options.agents)) if self._plan.options.reload else None
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._boot(tasks)
                self._say(f"holdfast is up at {self._plan.url}")
                if self._plan.options.auth == "keys":
                    self._say(f"callers need an API key: `{keys_command(self._data)}` makes one")
                if files is not None:
                    runners = [watched for watched in self._services if watched.process in self._plan.runners]
                    await reload_on_change(files, runners, say=self._say)
                await asyncio.Event().wait()
        finally:
            await self._stop()

    def kill(self) -> None:
        """SIGKILL to everything that runs."""
        if self._migration is not None:
            self._migration.kill()
        for watched in [*self._services, *self._servers]:
            watched.process.kill()

    async def _boot(self, tasks: asyncio.TaskGroup) -> None:
        await end_leftovers(has_in_environment(DATA_VARIABLE, str(self._data.path)))
        mock_model = self._services[0]
        tasks.create_task(mock_model.keep_running(), name=mock_model.process.name)
        async with asyncio.TaskGroup() as starting:
            for server in self._servers:
                starting.create_task(server.process.start())
        urls = {"postgres_url": self._plan.postgres_url, "nats_url": self._plan.nats_url}
        give_servers(self._plan.services, **urls)
        for watched in self._servers:
            tasks.create_task(watched.keep_running(), name=watched.process.name)
        for watched in self._services[1:]:
            tasks.create_task(self._keep_running_beside_migration(watched), name=watched.process.name)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._migrate(urls["postgres_url"])
                telling = asyncio.create_task(self._tell_who_is_late(), name="tell who is late")
                try:
                    for watched in self._services:
                        await watched.ready.wait()
                finally:
                    telling.cancel()
        except TimeoutError:
            raise UpFailed(self._who_is_late()) from None
        self._data.write_addresses({"url": self._plan.url, "mock_model_url": self._plan.mock_model_url, **urls})

    async def _keep_running_beside_migration(self, watched: Supervised) -> None:
        """A service may end because of a schema that the migration will refuse, too: the migration says it once, and the services
        would each in the end of a log. Nor is a migration cut short by a service that does not start."""
        try:
            await watched.keep_running()
        except NeverReady:
            await self._migrated.wait()
            raise

    async def _migrate(self, postgres_url: str) -> None:
        log_path = self._data.log("migrate")
        command = [sys.executable, "-m", "holdfast_local", "migrate"]
        env = {**os.environ, "HOLDFAST_POSTGRES_URL": postgres_url, DATA_VARIABLE: str(self._data.path)}
        self._migration = Child(command, log_path=log_path, env=env)
        if await self._migration.exited() != 0:
            raise UpFailed(f"the migration failed; the end of {log_path}:\n{log_tail(log_path)}")
        self._migrated.set()

    async def _tell_who_is_late(self) -> None:
        """What the start waits for, every few seconds, as far as that is news. Until cancelled."""
        told: dict[str, str] = {}
        waited_s = 0.0
        while True:
            await asyncio.sleep(LATE_AFTER_S)
            waited_s += LATE_AFTER_S
            for service in self._late():
                if service in self._plan.reapers and waited_s < REAPER_LATE_AFTER_S:
                    continue
                if told.get(service.name) != service.first_reason:
                    told[service.name] = service.first_reason
                    self._say(f"waiting for {service.name}: {service.first_reason}")

    def _late(self) -> list[Service]:
        return [service for service in self._plan.services if not self._watched(service).ready.is_set()]

    def _who_is_late(self) -> str:
        whys = [f"{service.name} ({service.not_ready_because}; see {service.log_path})" for service in self._late()]
        return f"not ready after {READY_TIMEOUT_S:.0f} s: {'; '.join(whys) or 'the migration'}"

    def _watched(self, process: Process) -> Supervised:
        return next(watched for watched in self._services if watched.process is process)

    async def _stop(self) -> None:
        """In order; each stage waits for the one before. Nobody is started again: the watching has ended."""
        self.stopping = True
        if self._migration is not None:
            self._migration.kill()
        plan = self._plan
        stages: Sequence[Sequence[Process | None]] = [
            plan.gateways, plan.runners, plan.reapers, [plan.mock_model], [plan.nats], [plan.postgres],
        ]  # fmt: skip
        for stage in stages:
            async with asyncio.TaskGroup() as stopping:
                for process in stage:
                    if process is not None and process.pid is not None:
                        stopping.create_task(self._stop_one(process))

    async def _stop_one(self, process: Process) -> None:
        in_order = await process.stop()
        self._say(f"{process.name} stopped" + ("" if in_order else f" by force, after {process.stop_timeout_s:g} s"))


async def up(options: UpOptions, say: Say) -> int:
    """Run everything until SIGINT, SIGTERM or SIGHUP; a second signal kills at once. Returns the exit code.

    Raises:
        DataDirTaken, AddressInUse: somebody else has the folder or a port; nothing was touched.
        DataDirNotUsable: the folder cannot be made or written.
        AgentsNotFound: a module or file of agents is not there; nothing was touched.
    """
    refuse_if_absent(named_agents(options.agents))
    data = DataDir(options.data.resolve())
    data.refuse_if_taken()
    ports = gateway_ports(options)
    if (host := os.environ.get("HOLDFAST_HOST")) and host not in THIS_MACHINE:
        say(f"HOLDFAST_HOST={host} is not for `holdfast up`: it is for one machine, and listens on {LOOPBACK} only")
    with data.locked():
        machine = Machine(plan(options, data, ports), data, say)
        running = asyncio.create_task(machine.run(), name="machine")
        signals = _Signals(running, machine, say)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # ignored under nohup: let it be
                asyncio.get_running_loop().add_signal_handler(number, signals.received)
        try:
            await running
        except asyncio.CancelledError:
            return EXIT_INTERRUPTED if signals.count > 1 else 0
        except BaseExceptionGroup as group:
            failures = [_in_words(failure, data) for failure in _leaves(group)]
            if not all(isinstance(failure, HoldfastError) for failure in failures):
                raise
            for failure in failures:
                say(str(failure))
        return 1


class _Signals:
    """The first asks for an orderly stop, the second kills."""

    def __init__(self, running: asyncio.Task[None], machine: Machine, say: Say) -> None:
        self.count = 0
        self._running = running
        self._machine = machine
        self._say = say

    def received(self) -> None:
        self.count += 1
        if self.count == 1 and not self._machine.stopping:
            self._say("stopping (a second Ctrl-C kills at once)")
            self._running.cancel()
        else:
            self._machine.kill()


def keys_command(data: DataDir) -> str:
    """What makes a first key beside this `up`, in a terminal in the same folder."""
    elsewhere = data.path != DATA_DEFAULT.resolve()
    return "holdfast keys create" + (f" --data {shlex.quote(str(data.path))}" if elsewhere else "")


def _in_words(failure: BaseException, data: DataDir) -> BaseException:
    """A file of ours that could not be made or written is no surprise that a traceback would explain."""
    if isinstance(failure, OSError) and failure.filename and data.path in Path(str(failure.filename)).parents:
        return DataDirNotUsable(data.path, failure)
    return failure


def _leaves(failure: BaseException) -> list[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        return [leaf for inner in failure.exceptions for leaf in _leaves(inner)]
    return [failure]
