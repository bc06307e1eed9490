"""Books."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_table

revision = "r1"
down_revision = None


def upgrade() -> None:
    create_tenant_table(
        "books",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
    )
    create_idempotency_keys()
