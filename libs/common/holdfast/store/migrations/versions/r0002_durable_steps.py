"""Durable steps: waits, retries, forks, deadlines; and the parts of an answer in which every tool call has its result."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add everything that revision 0002 names."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(sql)  # the driver's own: no parameters, so % means itself
