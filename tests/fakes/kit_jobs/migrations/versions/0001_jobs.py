"""What jobs did, and the kit's tables."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tasks, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_tenant_table(
        "done",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    create_idempotency_keys()
    create_tasks()
