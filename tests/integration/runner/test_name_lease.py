"""F22, F24: a pod's name is a lease, held by one boot; an expired key is nobody's, another boot's is a takeover."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest
from nats.aio.msg import Msg

from holdfast.bus import heartbeats, names, topology
from holdfast.errors import BusUnavailable, PodNameTaken
from holdfast.runs import Owner
from holdfast.wire.messages import Heartbeat
from holdfast_runner.heartbeat import HeartbeatThread, Load
from holdfast_runner.lease import NameLease, Replaced
from tests.integration.runner.scene import Scene
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")
TTL_S = 30


class Pod:
    """One boot's hold on the name ``name``."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.owner = Owner(scene.pod("name"), uuid4())
        self.lease = NameLease(scene.client, self.owner, ttl_s=TTL_S, timeout_s=1.0)

    def beat(self, *, goodbye: bool = False) -> Heartbeat:
        """What it says."""
        return Heartbeat(
            pod=self.owner.pod, boot=self.owner.boot, started_at="then", pid=7, host="h", goodbye=goodbye, version="0"
        )

    async def take(self) -> float:
        """Take the name; how long that took, in seconds."""
        started = time.monotonic()
        await self.lease.take(self.beat())
        return time.monotonic() - started

    async def listen(self, *, answer: bool) -> None:
        """Listen for pings, as its heartbeat's connection does; a frozen one does not answer."""

        async def pinged(ping: Msg) -> None:
            if answer:
                await ping.respond(b"here")

        await self.scene.client.subscribe(names.ping_subject(self.owner.pod, self.owner.boot), cb=pinged)
        await self.scene.client.flush()


async def pods(scene: Scene) -> tuple[Pod, Pod]:
    """A holder, and one who comes later."""
    await topology.ensure(scene.client, replicas=1)
    holder = Pod(scene)
    assert await holder.take() < 0.5, "nobody held it"
    return holder, Pod(scene)


async def test_f22_a_holder_that_answers_keeps_its_name(scene: Scene) -> None:
    holder, late = await pods(scene)
    await holder.listen(answer=True)
    with pytest.raises(PodNameTaken, match=f"boot {holder.owner.boot}, pid 7 on host h"):
        await late.take()
    await holder.lease.renew(holder.beat())


async def test_f23_a_holder_that_reconnects_just_now_keeps_its_name(scene: Scene) -> None:
    holder, late = await pods(scene)
    taking = asyncio.create_task(late.take())
    await asyncio.sleep(0.4)  # the holder's reconnect
    await holder.listen(answer=True)
    with pytest.raises(PodNameTaken):
        await taking


@pytest.mark.parametrize("frozen", [True, False])
async def test_f22_a_silent_holder_is_replaced_and_told_so(scene: Scene, frozen: bool) -> None:
    holder, late = await pods(scene)
    if frozen:
        await holder.listen(answer=False)
    assert 0.9 < await late.take() < 2.5
    with pytest.raises(Replaced, match=f"has been taken over by boot {late.owner.boot}"):
        await holder.lease.renew(holder.beat())
    await late.lease.renew(late.beat())


async def test_a_holder_that_renews_meanwhile_is_looked_at_again(scene: Scene) -> None:
    holder, late = await pods(scene)
    taking = asyncio.create_task(late.take())
    await asyncio.sleep(0.5)  # within the silence
    await holder.lease.renew(holder.beat())
    await holder.listen(answer=True)
    with pytest.raises(PodNameTaken):
        await taking


async def test_a_holder_that_said_goodbye_is_followed_at_once(scene: Scene) -> None:
    holder, late = await pods(scene)
    await holder.lease.renew(holder.beat(goodbye=True))
    assert await late.take() < 0.5


async def test_a_name_of_one_s_own_is_taken_again_at_once(scene: Scene) -> None:
    holder, _ = await pods(scene)
    assert await holder.take() < 0.5


async def test_f24_a_key_that_is_gone_is_written_anew(scene: Scene) -> None:
    holder, _ = await pods(scene)
    await scene.client.jetstream().purge_stream(names.BUCKET_STREAM, subject=names.heartbeat_key(holder.owner.pod))
    await holder.lease.renew(holder.beat())
    held = await heartbeats.read(scene.client, holder.owner.pod)
    assert held.heartbeat == holder.beat()


async def test_f24_after_a_reconnect_a_renewal_does_not_wait_for_streams_to_be_made(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster whose leader of metadata is frozen makes no streams for seconds, while the bucket has one that takes beats."""
    holder, _ = await pods(scene)
    heartbeat = HeartbeatThread(scene.settings("name"), holder.owner, Load(), lambda _: None)
    [before] = [beat for beat in await heartbeats.read_all(scene.client) if beat.name == holder.owner.pod]
    renewed = asyncio.Event()

    async def ensure(*_: object, **__: object) -> None:
        await renewed.wait()
        raise BusUnavailable("nobody leads")

    monkeypatch.setattr(topology, "ensure", ensure)
    renewing = asyncio.create_task(heartbeat._renew_anew(scene.client, holder.lease))

    async def is_renewed() -> bool:
        return (await heartbeats.read(scene.client, holder.owner.pod)).revision > before.revision

    await wait_until(is_renewed, description="it is renewed, though no stream can be made")
    renewed.set()
    with pytest.raises(BusUnavailable, match="nobody leads"):  # readiness shows it, and it is tried again
        await renewing
