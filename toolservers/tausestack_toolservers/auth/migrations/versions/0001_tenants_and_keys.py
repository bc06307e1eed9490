"""Tenants, keys and their lookup."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    create_tenant_table(
        "tenants",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
    )
    create_tenant_table(
        "key_lookup",
        sa.Column("hash", sa.Text(), primary_key=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
    )
    create_tenant_table(
        "api_keys",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text()),
        sa.Column("revoked_at", sa.Text()),
        sa.Column("request", sa.Text()),
        sa.UniqueConstraint("request"),
    )
    create_idempotency_keys()
