"""Accounts, and the kit's keys."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_table

revision = "r1"
down_revision = None


def upgrade() -> None:
    create_tenant_table(
        "accounts",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("balance", sa.Integer(), nullable=False),
        sa.Column("settings", sa.JSON()),
    )
    create_idempotency_keys()
