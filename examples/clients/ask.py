"""Ask an agent, show its answer as it grows, and take its result."""

import asyncio
import sys

from holdfast_client import Holdfast, RunFailed, chat


async def main(question: str) -> None:
    """The transcript is whole at every step, also when a runner was lost and a part of the answer is said anew."""
    async with Holdfast() as holdfast:
        run = await holdfast.submit("assistant", chat(question))
        async for transcript in run.transcript(live=True):
            print(f"{transcript.status:9} …{transcript.text[-60:]}")
        try:
            print(await run.result())
        except RunFailed as failed:
            sys.exit(f"{failed.code}: {failed.message}")


asyncio.run(main(sys.argv[1]))
