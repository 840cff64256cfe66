"""An agent that books amounts: a rate that may not be there yet, and a line that must not stand in the ledger twice."""

import json
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from holdfast_agent import PermanentError, Retry, Run, agent

FOLDER = Path(os.environ.get("LEDGER_FOLDER", "."))
PATIENT = Retry(tries=20, on=(OSError,))


@dataclass(frozen=True)
class Booking:
    amount: Decimal
    currency: str
    euros: Decimal


def read_rate(currency: str) -> Decimal:
    """A file that is not there yet is an OSError: worth another try. A currency that is not in it is final."""
    rates = json.loads((FOLDER / "rates.json").read_text())
    if currency not in rates:
        raise PermanentError(f"there is no rate for {currency}", code="no_rate")
    return Decimal(rates[currency])


@agent("ledger")
async def ledger(run: Run) -> dict[str, str]:
    """Books an amount, such as "12.50 USD"."""
    amount, currency = run.input["messages"][-1]["content"].split()
    rate = await run.step("read rate", read_rate, currency, idempotent=True, retry=PATIENT)
    booking = Booking(Decimal(amount), currency, Decimal(amount) * rate)

    def write_line(booking: Booking) -> str:
        line = f"{run.idempotency_key} {booking.amount} {booking.currency} = {booking.euros} EUR"
        with (FOLDER / "ledger.txt").open("a") as file:
            file.write(line + "\n")
        return line

    line = await run.step("write line", write_line, booking)
    run.emit_text(f"Booked: {line}")
    return {"euros": str(booking.euros)}
