"""Invoices, payments, usage and subscriptions."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_index, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    create_tenant_table(
        "invoices",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("lines", sa.JSON(), nullable=False),
        sa.Column("tax_basis_points", sa.Integer(), nullable=False),
        sa.Column("subtotal_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("notes", sa.Text()),
        sa.Column("due_on", sa.Text()),
        sa.Column("issued_at", sa.Text(), nullable=False),
        sa.UniqueConstraint("number"),
    )
    create_tenant_table(
        "payments",
        sa.Column("invoice", sa.Text(), primary_key=True),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text()),
        sa.Column("paid_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["invoice"], ["invoices.id"]),
    )
    create_tenant_table(
        "usage",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
    create_tenant_index("usage_by_metric", "usage", ["metric", "at"])
    create_tenant_table(
        "subscriptions",
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
    )
    create_idempotency_keys()
