"""Webhooks, and what is still to be delivered to them: made by the transaction of the change that they tell of."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add everything that revision 0004 names."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(sql)  # the driver's own: no parameters, so % means itself
