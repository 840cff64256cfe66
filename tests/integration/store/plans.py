"""How Postgres carries out a statement of ``sql/``: the generic plan, which is what a service's prepared statement comes to have.

It is carried out, in a transaction that is rolled back, so that what it reads is known and not estimated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from holdfast.store.queries import sql

SMALL = frozenset(
    {"tenants", "agents", "api_keys", "webhooks", "changes_forgotten", "schema_support", "alembic_version"}
)
"""Tables that no number of runs makes larger: to read them as a whole is what they are for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a statement did. ``pages`` are those that it touched, in the functions that it calls too; triggers are left out."""

    indexes: frozenset[str]
    whole_tables: frozenset[str]
    rows_read: int
    rows_sorted: int
    pages: int
    returned: int

    def faults(self, *, rows_max: int, pages_max: int) -> list[str]:
        """What no statement on a large record may do, in words."""
        found = [f"reads the whole of {table}" for table in sorted(self.whole_tables - SMALL)]
        if self.rows_read > rows_max:
            found.append(f"reads {self.rows_read} rows, may {rows_max}")
        if self.rows_sorted > rows_max:
            found.append(f"sorts {self.rows_sorted} rows, may {rows_max}")
        if self.pages > pages_max:
            found.append(f"touches {self.pages} pages, may {pages_max}")
        return found


def _literal(value: object) -> str:
    """As SQL text; the type is the parameter's."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        each = (
            "NULL" if one is None else '"' + _text(one).replace("\\", "\\\\").replace('"', '\\"') + '"' for one in value
        )
        return _quoted("{" + ",".join(each) + "}")
    return _quoted(_text(value))


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, (str, int, float, bool, UUID)):
        return str(value)
    raise TypeError(f"no SQL for {value!r}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _read(node: dict[str, Any]) -> float:
    removed = sum(node.get(f"Rows Removed by {how}", 0) for how in ("Filter", "Index Recheck"))
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])


async def plan_of(
    connection: asyncpg.Connection[Any], name: str, args: Sequence[object], *, without: str | None = None
) -> Plan:
    """The plan of ``sql/<name>.sql`` with these arguments; ``without`` an index, to see what it is good for."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        if without is not None:
            constraint = await connection.fetchval(
                "SELECT conrelid::regclass::text FROM pg_constraint WHERE conname = $1", without
            )
            drop = (
                f"ALTER TABLE {constraint} DROP CONSTRAINT {without} CASCADE" if constraint else f"DROP INDEX {without}"
            )
            await connection.execute(drop)
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned AS {sql(name)}")
        given = f"({', '.join(map(_literal, args))})" if args else ""
        [[said]] = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE planned{given}")
        await connection.execute("DEALLOCATE planned")
    finally:
        await transaction.rollback()
    top = json.loads(said)[0]["Plan"]
    nodes = [node for node in _nodes(top) if node["Actual Loops"]]
    scans = [
        node
        for node in nodes
        if node["Node Type"].endswith("Scan") and ("Relation Name" in node or "Index Name" in node)
    ]
    return Plan(
        indexes=frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
        whole_tables=frozenset(node["Relation Name"] for node in scans if node["Node Type"] == "Seq Scan"),
        rows_read=round(sum(map(_read, scans))),
        rows_sorted=round(
            sum(_read(node["Plans"][0]) for node in nodes if node["Node Type"] in ("Sort", "Incremental Sort"))
        ),
        pages=top["Shared Hit Blocks"] + top["Shared Read Blocks"],
        returned=round(top["Actual Rows"]),
    )
