"""The record as requests meet it: known to be there, or refused at once.

A frozen Postgres costs the first requests their three seconds each. From then on a request is refused at once, until a ping in
the background is answered: so no request waits long, and those that pile up do not starve the connections of the pool.
"""

from __future__ import annotations

import asyncio

from holdfast.errors import SchemaMismatch, StoreUnavailable
from holdfast.logs import get_logger
from holdfast.settings import GatewaySettings
from holdfast.store import Database, caller, schema
from holdfast_gateway.auth import ensure_bootstrap_key

log = get_logger(__name__)
_PING_INTERVAL_S = 0.5


class Record:
    """The database, and whether it is worth asking."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.db = Database(
            settings.postgres_url,
            pool_size=settings.postgres_pool_size,
            timeout_s=settings.postgres_timeout_s,
            kept_open=settings.postgres_pool_size,
        )
        self._settings = settings
        self._problem: str | None = "waiting for the record's schema"
        self._away = asyncio.Event()

    def require(self) -> None:
        """Refuse at once while the record is known to be away.

        Raises:
            StoreUnavailable: it is.
        """
        if self._problem is not None:
            raise StoreUnavailable(self._problem)

    def failed(self, error: StoreUnavailable) -> None:
        """A request found the record away."""
        if self._problem is None:
            log.warning("record.away", error=str(error))
            self._problem = str(error)
            self._away.set()

    async def keep(self) -> None:
        """Wait for the schema, store the bootstrap key; then ping while the record is away.

        Raises:
            SchemaMismatch: this code and the database's schema do not fit, or nobody migrated in time.
        """
        await schema.wait_for(self.db, timeout_s=self._settings.schema_wait_s)
        self._away.set()
        stored = self._settings.bootstrap_key is None
        while True:
            await self._away.wait()
            try:
                if not stored and self._settings.bootstrap_key is not None:
                    await ensure_bootstrap_key(self.db, self._settings.bootstrap_key)
                    stored = True
                await caller.ping(self.db)
            except StoreUnavailable as error:
                self._problem = str(error)
                await asyncio.sleep(_PING_INTERVAL_S)
            else:
                self._problem = None
                self._away.clear()
                log.info("record.there")

    async def problems(self) -> list[str]:
        """What is not right with the record, in words for an operator; asks it when nothing is known to be wrong."""
        if self._problem is not None:
            return [self._problem]
        try:
            wrong = await schema.missing(self.db)
        except SchemaMismatch as error:
            return [str(error)]
        except StoreUnavailable as error:
            self.failed(error)
            return [str(error)]
        return [wrong] if wrong else []

    async def close(self) -> None:
        """Close the connections. Safe to repeat."""
        await self.db.close()
