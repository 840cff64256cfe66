"""The client's commands while runners and gateways die, and while servers are away or lack something."""

from __future__ import annotations

import json

import asyncpg
import nats
import pytest

from holdfast.bus import names, topology
from tests.integration.cli.conftest import environment_of, golden
from tests.integration.cli.shell import Shell
from tests.support.stack import Stack

pytestmark = pytest.mark.slow  # whole processes in every test


async def test_a_followed_run_survives_its_owner_in_a_pipe_and_on_a_terminal(stack: Stack, shell: Shell) -> None:
    await stack.start(runners=3)
    shell.env = environment_of(stack)
    piped = await shell.start("run", "many:60 stamp")
    run_id = await piped.run_id()
    owner = await stack.owner(run_id)
    seen = await shell.start_on_a_terminal("tail", run_id)
    await seen.says("chunk-5@1 ")
    stack.services[owner].kill()
    on_screen, ran = await seen.end(), await piped.end()

    second = (await stack.run(run_id))["attempt"]
    heir = json.loads((await shell("show", run_id, "--json")).out)["attempts"][1]["pod"]
    assert second == 2
    assert (ran.code, ran.out) == (0, golden(60, call=2) + "\n")
    assert ran.err == f"— run {run_id} —\n— {owner} was lost; {heir} goes on from here —\n"
    assert on_screen.code == 0
    before, _, below = on_screen.out.partition(
        f"\n— {owner} was lost; {heir} goes on from here; what follows replaces the text above —\n"
    )
    assert before.startswith(golden(5, call=1))
    assert below == golden(60, call=2) + "\n"


@pytest.mark.slow
async def test_the_stream_waits_for_a_gateway_that_is_away(stack: Stack, shell: Shell) -> None:
    await stack.start(runners=1)
    shell.env = environment_of(stack)
    running = await shell.start("run", "many:60")
    await stack.owner(await running.run_id())
    stack.services["gateway-1"].kill()
    url = stack.url()
    await running.says(f"— no gateway at {url}: is `holdfast up` running?; trying again —")
    await stack.services["gateway-1"].start()
    await running.says("— the gateway is back —")
    ran = await running.end()
    assert (ran.code, ran.out) == (0, golden(60) + "\n")


async def test_doctor_names_what_is_missing_and_what_to_do(stack: Stack, shell: Shell) -> None:
    """Servers alone: no streams, no runner, no gateway; then all streams but one; then another schema."""
    shell.env = {**environment_of_servers(stack), "HOLDFAST_URL": "http://127.0.0.1:1"}
    bare = await shell("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(bare.out)}
    assert bare.code == 1
    assert found["streams"]["found"] == "missing: RUN_REQUESTS, RUN_EVENTS, KV_pod_heartbeats"
    assert [check for check, finding in found.items() if finding["ok"]] == ["postgres", "schema", "clocks", "nats"]
    assert "no gateway at http://127.0.0.1:1" in found["gateway"]["found"]

    client = await nats.connect(stack.nats.url)
    await topology.ensure(client, replicas=1)
    await client.jetstream().delete_stream(names.EVENTS_STREAM)
    await client.close()
    lacking = (await shell("doctor")).out.splitlines()
    at = next(number for number, line in enumerate(lacking) if "missing: RUN_EVENTS" in line)
    assert lacking[at].startswith("PROBLEM  streams")
    assert "a gateway, runner or reaper makes them when it starts" in lacking[at + 1]
    assert any(line.split()[:2] == ["PROBLEM", "runners"] for line in lacking)
    assert any(line.split()[:2] == ["PROBLEM", "reapers"] for line in lacking)

    connection = await asyncpg.connect(stack.postgres.url)
    await connection.execute("DROP TABLE alembic_version")
    await connection.close()
    unmigrated = await shell("doctor")
    assert "PROBLEM  schema    the database has no Holdfast schema: run `holdfast migrate`" in unmigrated.out
    keys = await shell("keys", "list")
    assert (keys.code, keys.err) == (1, "Error: the database has no Holdfast schema: run `holdfast migrate`\n")


@pytest.mark.slow
async def test_doctor_with_postgres_down_with_it_frozen_and_with_nats_down(stack: Stack, shell: Shell) -> None:
    await stack.add("gateway", "gateway-1")
    shell.env = environment_of(stack)
    stack.postgres.pause()
    frozen = await shell("doctor", "--json", timeout_s=20)
    stack.postgres.resume()
    found = {finding["check"]: finding for finding in json.loads(frozen.out)}
    assert not found["postgres"]["ok"]
    assert "did not answer within 3 s" in found["postgres"]["found"]
    assert "schema" not in found

    stack.postgres.kill()
    down = await shell("doctor")
    assert down.code == 1
    assert down.out.startswith("PROBLEM  postgres")
    assert "Traceback" not in down.out + down.err
    assert "is not ready: Postgres did not answer" in down.out

    stack.nats.kill()
    neither = await shell("doctor", "--json", timeout_s=20)
    found = {finding["check"]: finding for finding in json.loads(neither.out)}
    assert not found["nats"]["ok"]
    assert "3 s" in found["nats"]["found"]
    keys = await shell("keys", "create")
    assert keys.code == 1
    assert keys.err.startswith("Error: cannot use Postgres at postgresql://")
    assert keys.err.count("\n") == 1


async def test_a_wrong_password_is_one_line(stack: Stack, shell: Shell) -> None:
    wrong = stack.postgres.url.replace("@", "x@")
    shell.env = {**environment_of_servers(stack), "HOLDFAST_URL": "http://127.0.0.1:1"}
    for command in (("keys", "list"), ("doctor",)):
        said = await shell(*command, "--postgres", wrong)
        assert said.code == 1
        assert "password authentication failed" in said.out + said.err
        assert "Traceback" not in said.out + said.err


@pytest.mark.slow
async def test_beside_holdfast_up_commands_need_no_options(shell: Shell) -> None:
    """In one folder: a system on ports of its own choice, and the commands that find it."""
    up = await shell.start("up", "--port", "0", "--runners", "1")
    await up.says("holdfast is up at ", timeout_s=60)
    url = up.out.partition("holdfast is up at ")[2].split()[0]
    assert json.loads((await shell("doctor", "--json")).out)[-1]["found"] == f"{url} is ready"
    assert (await shell("run", "hi", "--agent", "echo")).out == "hi\n"
    assert (await shell("doctor")).code == 0
    assert (await shell("keys", "create")).out.startswith("hf_")
    assert "there was nothing to do" in (await shell("migrate")).out
    assert [pod["pod"] for pod in json.loads((await shell("pods", "--json")).out)] == ["runner-1"]
    up.process.terminate()
    assert (await up.end()).code == 0
    gone = await shell("doctor", "--json")  # whatever it finds at the default address, it is not that system
    assert url not in gone.out


def environment_of_servers(stack: Stack) -> dict[str, str]:
    """The variables by which commands find the servers of a stack without services."""
    return {"HOLDFAST_POSTGRES_URL": stack.postgres.url, "HOLDFAST_NATS_URL": stack.nats.url}
