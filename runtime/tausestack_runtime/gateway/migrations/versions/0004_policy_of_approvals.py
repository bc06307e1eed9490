"""The version of a tool's policy that an approval was asked under."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; what was asked for before is bound to no version."""
    op.add_column("approvals", sa.Column("policy", sa.Text(), nullable=False, server_default=""))
