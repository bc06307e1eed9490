"""What a server said when it was planned, and the hash that each of its tools was approved by."""

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import rows_of_all_tenants

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; what is active was approved as it is."""
    for name, empty in (("files", "{}"), ("protocols", "[]"), ("offer", "{}")):
        column = sa.Column(name, sa.JSON(), nullable=False, server_default=sa.text(f"'{empty}'"))
        op.add_column("installations", column)
    op.add_column("pins", sa.Column("approved", sa.Text(), nullable=True))
    with rows_of_all_tenants("pins"):
        op.execute("UPDATE pins SET approved = sha256 WHERE status = 'active'")
