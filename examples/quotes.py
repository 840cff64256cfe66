"""An agent that asks three shops for a price, side by side."""

import asyncio
from dataclasses import dataclass

from holdfast_agent import Run, agent

SHOPS = {"north": 40, "south": 15, "harbour": 99}


@dataclass(frozen=True)
class Quote:
    shop: str
    cents: int


async def ask_shop(shop: str, item: str) -> Quote:
    """Stands for a request that takes its time. To ask twice does no harm."""
    await asyncio.sleep(1)
    return Quote(shop, 100 * len(item) + SHOPS[shop])


@agent("quotes", input_schema={"type": "object", "required": ["item"], "properties": {"item": {"type": "string"}}})
async def quotes(run: Run) -> Quote:
    """Finds the best price."""
    item = run.input["item"]
    found = await run.gather(*(run.step("ask shop", ask_shop, shop, item, idempotent=True) for shop in SHOPS))
    for quote in found:
        run.emit("quote", {"shop": quote.shop, "cents": quote.cents})
    return min(found, key=lambda quote: quote.cents)
