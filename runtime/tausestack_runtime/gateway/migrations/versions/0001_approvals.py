"""Approvals."""

import sqlalchemy as sa

from tausestack.database.migrations import create_tenant_index, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table of approvals."""
    create_tenant_table(
        "approvals",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.Text()),
        sa.Column("decided_by", sa.Text()),
        sa.Column("reason", sa.Text()),
    )
    create_tenant_index("approvals_by_run", "approvals", ["run", "key"])
