"""Bring the record's schema up to date: one step, forward only, under an advisory lock.

Services never migrate: they wait until the schema that they need is there (``holdfast.store.schema``).
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from holdfast.errors import SchemaMismatch, StoreUnavailable

_LOCK = 0x686F6C6466617374  # "holdfast"; whoever migrates holds it, so that a first boot of ten pods migrates once


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def head() -> str:
    """The revision that this code brings a database to."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def migrate(postgres_url: str, *, lock_timeout_s: float = 60.0) -> tuple[str | None, str]:
    """Migrate to :func:`head`. Safe to run from many places at once.

    Returns:
        (revision before, revision after); equal when there was nothing to do.

    Raises:
        SchemaMismatch: the database is newer than this code.
        StoreUnavailable: Postgres cannot be reached.
    """
    config = _config()
    url = sa.make_url(postgres_url).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            connection.execute(sa.select(sa.func.set_config("lock_timeout", f"{lock_timeout_s * 1000:.0f}", False)))
            connection.execute(sa.select(sa.func.pg_advisory_lock(_LOCK)))
            connection.commit()
            before = MigrationContext.configure(connection).get_current_revision()
            _refuse_newer(config, before)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            return before, head()
    except sa.exc.OperationalError as error:
        raise StoreUnavailable(f"cannot reach Postgres to migrate: {error.orig}") from error
    except psycopg.OperationalError as error:  # within a revision, whose statements are the driver's own
        raise StoreUnavailable(
            f"the migration was broken off; what is missing is done when it is repeated: {error}"
        ) from error
    finally:
        engine.dispose()


def _refuse_newer(config: Config, before: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise SchemaMismatch(
            f"the database's schema is at {before}, newer than this release knows ({head()}): upgrade this release"
        )
