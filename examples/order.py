"""An agent with all of it: a child run, an approval, a question, steps side by side, a sleep, a model call."""

import os
from pathlib import Path
from typing import Literal

import openai
from pydantic import BaseModel

from holdfast_agent import Run, agent

FOLDER = Path(os.environ.get("LEDGER_FOLDER", "."))
MODEL = "gpt-4o-mini"
DELIVERY_S = 2


class Wishes(BaseModel):
    """What only the customer knows."""

    size: Literal["S", "M", "L"]
    gift: bool = False


class Parcel(BaseModel):
    number: str
    item: str
    wishes: Wishes


@agent("order")
async def order(run: Run) -> dict[str, object]:
    """Buys what is asked for."""
    item = run.input["messages"][-1]["content"]
    best = await run.call("quotes", {"item": item})
    approval = await run.approve("pay", best, text=f"Buy {item!r} at {best['shop']} for {best['cents']} cents?")
    if not approval.approved:
        return {"bought": None, "why": approval.reason}
    wishes = await run.ask("Which size, and is it a gift?", schema=Wishes)
    parcel = Parcel(number=str(run.uuid()), item=item, wishes=wishes)

    def pay(shop: str, cents: int) -> str:
        with (FOLDER / "payments.txt").open("a") as file:
            file.write(f"{run.idempotency_key} {shop} {cents}\n")
        return f"{cents} cents to {shop}"

    def print_label(parcel: Parcel) -> str:
        label = FOLDER / f"{parcel.number}.label"
        label.write_text(f"{parcel.item}, {parcel.wishes.size}\n")
        return label.name

    paid, label = await run.gather(
        run.step("pay", pay, best["shop"], best["cents"]),
        run.step("print label", print_label, parcel, idempotent=True),
    )
    await run.sleep(DELIVERY_S)

    messages = [{"role": "user", "content": f"Thank the customer for {item!r}, size {wishes.size}: {paid}."}]

    async def ask_the_model() -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            reply = await client.chat.completions.create(model=MODEL, messages=messages)
        return reply.choices[0].message.content or ""

    thanks = await run.model("thank", messages, ask_the_model)
    run.emit_text(thanks)
    return {"bought": parcel, "label": label, "paid": paid}
