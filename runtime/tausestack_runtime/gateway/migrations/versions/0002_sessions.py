"""What the sessions of earlier clients changed."""

import sqlalchemy as sa

from tausestack.database.migrations import create_tenant_index, create_tenant_table

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table of sessions."""
    create_tenant_table(
        "sessions",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
    )
    create_tenant_index("sessions_by_expiry", "sessions", ["expires_at"])
