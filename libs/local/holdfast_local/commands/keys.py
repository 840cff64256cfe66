"""``holdfast keys``: straight on the record, so that a first key can be made before anybody has one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from holdfast_local.calling import json_option, note, print_json
from holdfast_local.direct import data_option, postgres_option, record
from holdfast_local.listing import age, table
from holdfast_local.where import postgres_url

if TYPE_CHECKING:
    from holdfast.store import Database, KeyRow

T = TypeVar("T")
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TITLES = ("ID", "KEY", "NAME", "OPERATOR", "CREATED", "REVOKED")


def _tenant(_: click.Context, __: click.Parameter, value: str) -> str:
    if not _TENANT.fullmatch(value):
        raise click.BadParameter("a tenant's name is 1 to 64 letters, digits, '-' or '_'")
    return value


_tenant_option = click.option(
    "--tenant", default="default", show_default=True, metavar="T", callback=_tenant, help="Whose keys."
)


@click.group("keys", short_help="Make, list and revoke API keys.")
def command() -> None:
    """Make, list and revoke the API keys of a tenant, straight in Postgres; gateways follow at once.

    A key is shown once, when it is made: what is stored is its hash.
    """


@command.command("create", short_help="Make a key and print it.")
@_tenant_option
@click.option("--name", default="", metavar="NAME", help="What it is for.")
@click.option("--operator", is_flag=True, help="One that may see hosts and pids.")
@json_option
@postgres_option
@data_option
def create(*, tenant: str, name: str, operator: bool, as_json: bool, postgres: str | None, data: Path) -> None:
    """Make a key, and the tenant if there is none of that name. Standard output has the key and nothing else."""
    from holdfast_gateway.auth import make_key  # noqa: PLC0415  # slow to import

    key, row = _on_record(postgres, data, lambda db: make_key(db, tenant, name=name, operator=operator))
    if as_json:
        print_json({**_shown(row), "key": key})
        return
    click.echo(key)
    note(f"key {row.id} of tenant {tenant}: keep it, it is not shown again")


@command.command("list", short_help="List a tenant's keys.")
@_tenant_option
@json_option
@postgres_option
@data_option
def list_keys(tenant: str, as_json: bool, postgres: str | None, data: Path) -> None:
    """List a tenant's keys, revoked ones too. KEY is how each begins."""
    from holdfast.store import caller  # noqa: PLC0415

    rows = [_shown(row) for row in _on_record(postgres, data, lambda db: caller.keys(db, tenant))]
    if as_json:
        print_json(rows)
        return
    cells = [
        (
            row["id"],
            f"{row['prefix']}…",
            row["name"] or None,
            "yes" if row["operator"] else "no",
            age(row["created_at"]),
            age(row["revoked_at"]),
        )
        for row in rows
    ]
    for line in table(_TITLES, cells) if cells else [f"tenant {tenant} has no keys"]:
        click.echo(line)


@command.command("revoke", short_help="Revoke a key.")
@click.argument("key_id", metavar="ID", type=click.UUID)
@_tenant_option
@postgres_option
@data_option
def revoke(key_id: Any, tenant: str, postgres: str | None, data: Path) -> None:
    """Revoke the key of that ID (see `holdfast keys list`). Gateways refuse it from now on."""
    from holdfast.errors import Terminal  # noqa: PLC0415
    from holdfast.store import caller  # noqa: PLC0415

    if not _on_record(postgres, data, lambda db: caller.revoke_key(db, tenant, key_id)):
        raise Terminal(f"tenant {tenant} has no key {key_id}: see `holdfast keys list --tenant {tenant}`")
    click.echo("revoked")


def _on_record(postgres: str | None, data: Path, work: Callable[[Database], Awaitable[T]]) -> T:
    import asyncio  # noqa: PLC0415  # slow to import

    async def with_record() -> T:
        async with record(postgres_url(postgres, data)) as database:
            return await work(database)

    return asyncio.run(with_record())


def _shown(row: KeyRow) -> dict[str, Any]:
    """A key's row for JSON: ids and times as strings."""
    times = {name: value and value.isoformat() for name, value in asdict(row).items() if name.endswith("_at")}
    return {**asdict(row), "id": str(row.id), **times}
