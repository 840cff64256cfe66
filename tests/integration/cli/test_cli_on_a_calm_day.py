"""The client's commands on a whole Holdfast in which nothing goes wrong."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tests.integration.cli.conftest import golden
from tests.integration.cli.shell import Shell
from tests.support.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def test_run_prints_the_golden_text_and_a_thread_goes_on(calm: Stack, calm_shell: Shell) -> None:
    thread = f"chat-{uuid4()}"
    for text in ("many:10", "many:3"):
        ran = await calm_shell("run", text, "--thread", thread)
        assert (ran.code, ran.out) == (0, golden(int(text[5:])) + "\n")
        assert ran.err.startswith("— run ")
        assert ran.err.count("\n") == 1
    runs = (await calm.http.get(f"{calm.url()}/v1/runs", params={"thread": thread})).json()["items"]
    assert len(runs) == 2


async def test_run_of_an_agent_that_nobody_has(calm_shell: Shell) -> None:
    ran = await calm_shell("run", "hello", "--agent", "nobody")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "Error: no runner has loaded an agent named 'nobody'; there are assistant, echo\n"


async def test_a_failed_run_is_exit_1_with_its_reason(calm_shell: Shell) -> None:
    ran = await calm_shell("run", "fail:400")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1].startswith("failed: model_refused: the model answered 400")


@pytest.mark.slow
async def test_json_is_the_whole_log_and_tail_gives_the_rest_of_it(calm_shell: Shell) -> None:
    ran = await calm_shell("run", "many:5", "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["type"] for event in (events[0], events[-1])] == ["run.queued", "run.completed"]
    run_id = events[0]["data"]["run_id"]
    middle = next(number for number, event in enumerate(events) if event["type"] == "text.delta")
    rest = await calm_shell("tail", run_id, "--after", events[middle]["id"], "--json")
    assert (rest.code, [json.loads(line) for line in rest.out.splitlines()]) == (0, events[middle + 1 :])
    nothing = await calm_shell("tail", run_id, "--after", events[-1]["id"], "--json")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "")
    whole = await calm_shell("tail", run_id)
    assert (whole.code, whole.out) == (0, golden(5) + "\n")


async def test_on_a_terminal_text_streams(calm_shell: Shell) -> None:
    running = await calm_shell.start_on_a_terminal("run", "many:30")
    await running.says(golden(3))
    assert golden(30) not in running.out
    ran = await running.end()
    assert ran.code == 0
    assert ran.out.endswith(f" —\n{golden(30)}\n")


async def test_cancel_while_it_is_followed(calm: Stack, calm_shell: Shell) -> None:
    running = await calm_shell.start("run", "slow:100x100")
    run_id = await running.run_id()
    await calm.owner(run_id)
    cancelled = await calm_shell("cancel", run_id)
    assert cancelled.code == 0
    ran = await running.end()
    assert (ran.code, ran.err.splitlines()[-1]) == (3, "cancelled")
    again = await calm_shell("cancel", run_id)
    assert (again.code, again.err) == (1, f"Error: run {run_id} has ended already: it is cancelled\n")


@pytest.mark.slow
async def test_ps_and_show(calm: Stack, calm_shell: Shell) -> None:
    done = (await calm_shell("run", "hi", "--agent", "echo", "--detach")).out.strip()
    going = (await calm_shell("run", "slow:100x100", "--detach")).out.strip()
    owner = await calm.owner(going)
    await calm.until_status(done, "completed")

    listed = (await calm_shell("ps")).out.splitlines()
    assert any(line.split()[:5] == [going, "running", "assistant", owner, "1"] for line in listed)
    assert any(line.split()[:4] == [done, "completed", "echo", "-"] for line in listed)
    running = json.loads((await calm_shell("ps", "--status", "running", "--json")).out)
    assert [run["id"] for run in running] == [going]
    echoed = json.loads((await calm_shell("ps", "--all", "--agent", "echo", "--json")).out)
    assert done in {run["id"] for run in echoed}
    assert {run["agent"] for run in echoed} == {"echo"}

    shown = json.loads((await calm_shell("show", going, "--json")).out)
    assert (shown["run"]["run_owner_pod"], shown["attempts"][0]["pod"]) == (owner, owner)
    assert [(step["position"], step["kind"], step["status"]) for step in shown["steps"]] == [("0", "model", "started")]
    words = (await calm_shell("show", going)).out
    assert f"running, owned by {owner}" in words
    assert (await calm_shell("cancel", going)).code == 0
    missing = str(uuid4())
    nothing = await calm_shell("show", missing)
    assert (nothing.code, nothing.err) == (1, f"Error: no run '{missing}'\n")


async def test_pods(calm_shell: Shell) -> None:
    pods = json.loads((await calm_shell("pods", "--json")).out)
    assert [(pod["pod"], pod["slots"], pod["draining"]) for pod in pods] == [
        ("runner-1", 16, False),
        ("runner-2", 16, False),
    ]
    listed = (await calm_shell("pods")).out.splitlines()
    assert [line.split()[0] for line in listed] == ["POD", "runner-1", "runner-2"]


@pytest.mark.slow
async def test_a_key_from_its_making_to_its_end(calm: Stack, calm_shell: Shell) -> None:
    tenant = f"t-{uuid4()}"
    url = calm.url("gateway-keys")
    refused = await calm_shell("ps", "--url", url)
    assert (refused.code, refused.err) == (
        1,
        f"Error: the gateway at {url} wants a key: give one with --key or HOLDFAST_KEY\n",
    )
    made = await calm_shell("keys", "create", "--tenant", tenant, "--name", "ci")
    key = made.out.strip()
    assert made.code == 0
    assert key.startswith("hf_")
    ran = await calm_shell("run", "hi", "--agent", "echo", "--url", url, HOLDFAST_KEY=key)
    assert (ran.code, ran.out) == (0, "hi\n")
    run_id = ran.err.split()[2]
    pods = json.loads((await calm_shell("pods", "--json", "--url", url, "--key", key)).out)
    assert pods
    assert not any("host" in pod for pod in pods)

    operator = json.loads((await calm_shell("keys", "create", "--operator", "--json")).out)
    pods = json.loads((await calm_shell("pods", "--json", "--url", url, "--key", operator["key"])).out)
    assert None not in {pod["host"] for pod in pods}
    other = await calm_shell("show", run_id, "--url", url, "--key", operator["key"])
    assert (other.code, other.err) == (1, f"Error: no run '{run_id}'\n")

    [row] = json.loads((await calm_shell("keys", "list", "--tenant", tenant, "--json")).out)
    assert (row["name"], row["operator"], row["revoked_at"]) == ("ci", False, None)
    assert key.startswith(row["prefix"])
    assert "key" not in row
    assert "key_hash" not in row
    assert (await calm_shell("keys", "revoke", row["id"], "--tenant", "default")).code == 1
    assert (await calm_shell("keys", "revoke", row["id"], "--tenant", tenant)).out == "revoked\n"
    gone = await calm_shell("ps", "--url", url, "--key", key)
    assert gone.code == 1
    assert f"the gateway at {url} refuses this key" in gone.err
    listed = (await calm_shell("keys", "list", "--tenant", tenant)).out.splitlines()
    assert listed[1].split()[:4] == [row["id"], f"{row['prefix']}…", "ci", "no"]
    assert listed[1].endswith(("ago", "now"))


async def test_doctor_finds_all_well(calm: Stack, calm_shell: Shell) -> None:
    examined = await calm_shell("doctor")
    assert (examined.code, examined.err) == (0, "")
    lines = examined.out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", check]
        for check in ("postgres", "schema", "clocks", "nats", "streams", "runners", "reapers", "clocks", "gateway")
    ]
    assert "2 alive: runner-1 (0 of 16 slots), runner-2 (0 of 16 slots)" in examined.out
    password = calm.postgres.url.partition("@")[0].rpartition(":")[2]
    assert password not in examined.out
    assert all(finding["ok"] for finding in json.loads((await calm_shell("doctor", "--json")).out))
