"""Keep a board of all runs and runners, on one connection: what a page that shows everything needs."""

import asyncio
from typing import Any

from holdfast_client import Holdfast


async def main() -> None:
    runs: dict[str, dict[str, Any]] = {}
    pods: dict[str, dict[str, Any]] = {}
    async with Holdfast() as holdfast:
        async for event in holdfast.feed():
            data = event.data
            match event.type:
                case "snapshot":
                    runs = {run["id"]: run for run in data["runs"]}
                case "run.changed" if data["status"] == "deleted":
                    runs.pop(data["run_id"], None)
                case "run.changed":
                    runs[data["run_id"]] = dict(data)
                case "pod.changed":
                    pods[data["pod"]] = dict(data)
                case "pod.gone" if pods.get(data["pod"], {}).get("boot") == data["boot"]:
                    del pods[data["pod"]]
            if data.get("pods") is not None:  # of a snapshot, and of what is told at each new connection
                pods = {pod["pod"]: pod for pod in data["pods"]}
            print(list(pods), [f"{run['agent']} {run['status']}" for run in runs.values()], flush=True)


asyncio.run(main())
