"""What the commands share that go to the servers themselves and not to a gateway: where those are, and the record, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import click

from holdfast.errors import Terminal
from holdfast_local.where import DATA_DEFAULT

if TYPE_CHECKING:
    from holdfast.store import Database

_ANSWER_TIMEOUT_S = 3.0

postgres_option = click.option(
    "--postgres",
    "postgres",
    metavar="URL",
    envvar="HOLDFAST_POSTGRES_URL",
    show_envvar=True,
    help="The record. Default: that of `holdfast up` on --data, if it runs.",
)
nats_option = click.option(
    "--nats",
    "nats",
    metavar="URL",
    envvar="HOLDFAST_NATS_URL",
    show_envvar=True,
    help="The NATS servers, with commas between. Default: that of `holdfast up` on --data, if it runs.",
)
data_option = click.option(
    "--data",
    default=DATA_DEFAULT,
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of a `holdfast up`.",
)


class RecordNotUsable(Terminal):
    """The record is away, refuses us, or has another schema. The message says which, and what to do."""


@asynccontextmanager
async def record(url: str) -> AsyncIterator[Database]:
    """The record, which answers and whose schema fits.

    Raises:
        RecordNotUsable: it does not.
    """
    from holdfast.store import Database, schema  # noqa: PLC0415  # slow to import

    database = Database(url, pool_size=1, timeout_s=_ANSWER_TIMEOUT_S)
    try:
        try:
            wrong = await schema.missing(database)
        except (
            Exception
        ) as error:  # a wrong password, an unknown database: the driver's own words are the best there are
            raise RecordNotUsable(
                f"cannot use Postgres at {without_password(url)}: {error}; `holdfast up` starts one, --postgres names another"
            ) from error
        if wrong:
            raise RecordNotUsable(wrong)
        yield database
    finally:
        await database.close()


def without_password(url: str) -> str:
    """A URL that can be shown."""
    parts = urlsplit(url)
    name, _, host = parts.netloc.rpartition("@")
    user = name.partition(":")[0]
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))
