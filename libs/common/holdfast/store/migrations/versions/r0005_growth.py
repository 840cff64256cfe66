"""The same cost for a run whether there are a thousand others or a million: fewer indexes, hot updates, cheaper changes."""

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Change everything that revision 0005 names, part by part. The last one commits with the revision's number."""
    parts = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").split("\n-- commit\n")
    connection = op.get_bind().connection  # the driver's own: no parameters, so % means itself
    for part in parts[:-1]:
        connection.cursor().execute(part)
        connection.commit()
    connection.cursor().execute(parts[-1])
