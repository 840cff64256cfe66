"""The record: tenants, keys, agents, threads, runs, attempts, steps, messages."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything that revision 0001 names."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(sql)  # the driver's own: no parameters, so % means itself
