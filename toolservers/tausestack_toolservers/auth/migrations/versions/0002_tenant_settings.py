"""What the operator set for a tenant beyond its plan."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; nothing is set yet."""
    op.add_column("tenants", sa.Column("settings", sa.JSON(), nullable=False, server_default=sa.text("'{}'")))
