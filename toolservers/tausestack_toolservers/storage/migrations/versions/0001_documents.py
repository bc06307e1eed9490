"""Documents."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    create_tenant_table(
        "documents",
        # Pages are cut by key: both databases have to order keys by their bytes.
        sa.Column("key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
    )
    create_idempotency_keys()
