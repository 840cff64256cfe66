"""The heartbeat: a thread with its own event loop, NATS connection and Postgres session.

So agent code that blocks the main loop does not look like death. But a main loop that has not turned for ``stall_limit_s`` is not
alive either: then the heartbeat stops on purpose, the stacks of all threads are logged, and the process exits non-zero.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

import holdfast
from holdfast import service
from holdfast.bus import connection, names, topology
from holdfast.errors import BusUnavailable, HoldfastError, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.runs import Owner
from holdfast.settings import RunnerSettings
from holdfast.store.session import Session
from holdfast.wire.messages import Heartbeat as Beat
from holdfast_runner.ended import cancelled
from holdfast_runner.lease import NameLease

log = get_logger(__name__)
EXIT_STALLED = 70  # EX_SOFTWARE of sysexits.h
_RETRY_INTERVAL_S = 0.25


class Load:
    """What the heartbeat tells of the main loop; written there, read in the thread."""

    def __init__(self) -> None:
        self.running = 0
        self.draining = False


class HeartbeatThread:
    """Keeps the pod's key, its ping subject and its Postgres session alive.

    Args:
        settings: of the runner.
        owner: this pod and boot.
        load: what to tell.
        on_end: called in the main loop when the thread ends by itself: the name is taken, or it failed.
    """

    def __init__(
        self, settings: RunnerSettings, owner: Owner, load: Load, on_end: Callable[[HoldfastError], None]
    ) -> None:
        self._settings = settings
        self._owner = owner
        self._load = load
        self._on_end = on_end
        self._main_loop = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopping = False
        self._started_at = datetime.now(UTC).isoformat()
        self._thread = threading.Thread(target=self._main, name="heartbeat", daemon=True)
        self._over = asyncio.Event()
        self.first_beat = asyncio.Event()
        self.problem = "no heartbeat has been acknowledged yet"

    def start(self) -> None:
        """Start the thread; ``first_beat`` is set once a heartbeat was acknowledged."""
        self._thread.start()

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Say goodbye and end the thread. Safe to call again."""
        self._stopping = True
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                self._loop.call_soon_threadsafe(self._stop.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._over.wait()

    # -- in the thread -----------------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            service.run_loop(self._run())
        except BaseException as failure:
            first: BaseException = failure
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            if isinstance(first, HoldfastError):
                error = first
            else:
                log.error("heartbeat.broken", exc_info=first)
                error = HoldfastError(f"the heartbeat failed: {type(first).__name__}: {first}")
            self._in_main_loop(lambda: self._on_end(error))
        finally:
            self._in_main_loop(self._over.set)

    def _in_main_loop(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # it is closed already
            self._main_loop.call_soon_threadsafe(call)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        if self._stopping:  # before there was a loop to tell
            self._stop.set()
        ended = asyncio.create_task(self._stop.wait())
        async with asyncio.TaskGroup() as group:
            side = [
                group.create_task(self._hold_session(), name="session"),
                group.create_task(self._watch_stall(), name="stall"),
            ]
            beating = group.create_task(self._beat_until(ended), name="beat")
            await asyncio.wait({beating})
            for task in side:
                task.cancel()

    async def _beat_until(self, ended: asyncio.Task[bool]) -> None:
        link = connection.Link("heartbeat")
        connecting = asyncio.create_task(connection.connect(self._settings.nats_url, link))
        await asyncio.wait({connecting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            await cancelled(connecting)
            return
        client = connecting.result()
        try:
            await self._beat(client, link, ended)
        finally:
            await connection.close(client)

    async def _beat(self, client: Client, link: connection.Link, ended: asyncio.Task[bool]) -> None:
        interval_s = self._settings.heartbeat_interval_s
        lease = NameLease(client, self._owner, ttl_s=self._settings.heartbeat_ttl_s, timeout_s=interval_s)
        await client.subscribe(names.ping_subject(self._owner.pod, self._owner.boot), cb=self._answer)
        prepared = -1
        while not ended.done():
            if link.closed.is_set():
                raise BusUnavailable("the heartbeat's connection to NATS was closed for good")
            started = time.monotonic()
            try:
                generation = link.generation
                if not self.first_beat.is_set():
                    await topology.ensure(client, replicas=self._settings.nats_replicas)
                    await lease.take(self._say())
                    self._in_main_loop(self.first_beat.set)
                elif prepared == generation:
                    await lease.renew(self._say())
                else:
                    await self._renew_anew(client, lease)
                prepared = generation
                self.problem = ""
                pause_s = interval_s
            except (BusUnavailable, nats.errors.Error) as error:
                problem = f"heartbeat: {error}"
                if problem != self.problem:
                    log.warning("heartbeat.failed", error=str(error))
                self.problem = problem
                pause_s = _RETRY_INTERVAL_S
            await asyncio.wait({ended}, timeout=max(0.0, pause_s - (time.monotonic() - started)))
        if self.first_beat.is_set():
            with contextlib.suppress(HoldfastError, nats.errors.Error):
                await lease.renew(self._say(goodbye=True))

    async def _renew_anew(self, client: Client, lease: NameLease) -> None:
        """Renew after a reconnect, and see to the streams, both at once. A bucket that has its leader must not wait for a cluster
        that has none to make streams, since silence is death; and one that is gone must be made."""
        patience_s = (
            self._settings.heartbeat_ttl_s / 2
        )  # the next renewal waits for it, and must come before the key expires
        ensured, renewed = await asyncio.gather(
            topology.ensure(client, replicas=self._settings.nats_replicas, timeout_s=patience_s),
            lease.renew(self._say()),
            return_exceptions=True,
        )
        for failure in (renewed, ensured):
            if isinstance(failure, BaseException):
                raise failure

    def _say(self, *, goodbye: bool = False) -> Beat:
        return Beat(
            pod=self._owner.pod,
            boot=self._owner.boot,
            pool=self._settings.pool,
            started_at=self._started_at,
            pid=os.getpid(),
            host=socket.gethostname(),
            slots=self._settings.slots,
            running=self._load.running,
            draining=self._load.draining,
            goodbye=goodbye,
            version=holdfast.__version__,
        )

    async def _answer(self, ping: Msg) -> None:
        await ping.respond(self._say().model_dump_json().encode())

    async def _hold_session(self) -> None:
        """A Postgres session that holds the boot's advisory lock: the second link, by which a reaper tells the living."""
        session: Session | None = None
        try:
            while True:
                try:
                    if session is None:
                        session = await Session.open(
                            self._settings.postgres_url, timeout_s=self._settings.postgres_timeout_s
                        )
                        await session.hold_boot(self._owner.boot)
                    await session.check()
                    await asyncio.sleep(self._settings.heartbeat_interval_s)
                except StoreUnavailable:
                    if session is not None:
                        await session.close()
                        session = None
                    await asyncio.sleep(_RETRY_INTERVAL_S)
        finally:
            if session is not None:
                await session.close()

    async def _watch_stall(self) -> None:
        """Ask the main loop for a turn, and count our own ticks in which it made none: time in which the whole process slept
        does not count. Asked from here, the loop need not wake up any more often than it is looked at."""
        tick_s = min(0.5, self._settings.stall_limit_s / 4)
        turned = threading.Event()
        turned.set()
        still_s = 0.0
        while still_s < self._settings.stall_limit_s:
            if turned.is_set():
                turned.clear()
                self._in_main_loop(turned.set)
            await asyncio.sleep(tick_s)
            still_s = 0.0 if turned.is_set() else still_s + tick_s
        log.error("runner.stalled", still_s=still_s, hint="something blocks the event loop; the stacks follow")
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        sys.stderr.flush()
        os._exit(EXIT_STALLED)
