"""Have money paid back. The run asks a person first, and waits for as long as that takes: this program may end meanwhile."""

import asyncio
import sys

from holdfast_client import Holdfast, Refused, RunWaiting, Wait, chat


async def decision(wait: Wait) -> dict[str, str]:
    """Ask whoever sits here."""
    said = await asyncio.to_thread(input, f"{wait.question['text']} [y/n] ")
    return {"decision": "approve"} if said == "y" else {"decision": "deny", "reason": "they said no"}


async def main(cents: str) -> None:
    async with Holdfast() as holdfast:
        # The same order is the same run, whoever sends it and however often.
        run = await holdfast.submit("refund", chat(cents), idempotency_key=f"refund-order-4711-{cents}")
        while True:
            try:
                print(await run.result(raise_on_waiting=True))
                return
            except RunWaiting as waiting:
                for wait in waiting.questions:
                    try:
                        await run.answer(wait.question_id, await decision(wait))
                    except Refused as refused:
                        print(f"too late: {refused}")  # somebody else has answered it: the first answer counts


asyncio.run(main(sys.argv[1]))
