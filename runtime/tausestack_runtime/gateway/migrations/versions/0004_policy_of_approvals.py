"""The version of a tool's policy that an approval was asked under."""

import sqlalchemy as sa

from tausestack.database.migrations import add_tenant_column

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; what was asked for before is bound to no version."""
    add_tenant_column("approvals", sa.Column("policy", sa.Text(), nullable=False, server_default=""))
