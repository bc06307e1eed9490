"""What tells a tenant from those that had its id before."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; a tenant that is there keeps none, as the tokens that were given out for it say none."""
    op.add_column("tenants", sa.Column("incarnation", sa.Text(), nullable=False, server_default=sa.text("''")))
