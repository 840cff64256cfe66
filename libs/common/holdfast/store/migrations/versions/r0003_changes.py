"""Every change of a run's status as a row: what the feed shows and webhooks are made from."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add everything that revision 0003 names."""
    sql = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().connection.cursor().execute(sql)  # the driver's own: no parameters, so % means itself
