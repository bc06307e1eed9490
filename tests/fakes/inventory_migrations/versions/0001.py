"""Stock."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table of stock."""
    create_tenant_table("stock", sa.Column("sku", sa.Text(), primary_key=True), sa.Column("quantity", sa.Integer()))
    create_idempotency_keys()
