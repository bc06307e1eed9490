"""Notes, and the kit's idempotency keys."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_tenant_table(
        "notes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    create_idempotency_keys()
