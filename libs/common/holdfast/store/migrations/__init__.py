"""Forward-only migrations of the record, run by Alembic. Each revision is one SQL file beside its Python stub."""
