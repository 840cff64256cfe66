"""An agent that pays money back: not before a person says so, not at once, and not twice."""

import os
from pathlib import Path

from holdfast_agent import PermanentError, Run, agent

FOLDER = Path(os.environ.get("LEDGER_FOLDER", "."))
COOLING_OFF_S = 3


def pay_back(cents: int) -> str:
    """Stands for a payment."""
    with (FOLDER / "paid_back.txt").open("a") as file:
        file.write(f"{cents}\n")
    return f"paid back {cents} cents"


@agent("refund", on_unknown="ask")
async def refund(run: Run) -> dict[str, int]:
    """Pays so many cents back."""
    wanted = {"cents": int(run.input["messages"][-1]["content"])}
    approval = await run.approve("pay_back", wanted, text=f"Pay {wanted['cents']} cents back?")
    if not approval.approved:
        run.emit_text(f"Not paid back: {approval.reason or 'no reason was given'}.")
        return {"cents": 0}
    cents = approval.arguments["cents"]
    if not isinstance(cents, int) or cents > wanted["cents"]:
        raise PermanentError(f"{cents!r} cents were approved, of {wanted['cents']}", code="too_much")
    await run.sleep(COOLING_OFF_S)
    said = await run.step("pay back", pay_back, cents)
    run.emit_text(f"Done: {said}, on {run.now():%d %B %Y}.")
    return {"cents": cents}
