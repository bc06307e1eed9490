"""The tables of the billing service. Invoices and payments are only ever added."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import Schema

metadata = sa.MetaData()

invoices = sa.Table(
    "invoices",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Column("customer_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("lines", sa.JSON, nullable=False),
    sa.Column("tax_basis_points", sa.Integer, nullable=False),
    sa.Column("subtotal_minor", sa.BigInteger, nullable=False),
    sa.Column("tax_minor", sa.BigInteger, nullable=False),
    sa.Column("total_minor", sa.BigInteger, nullable=False),
    sa.Column("notes", sa.Text),
    sa.Column("due_on", sa.Text),
    sa.Column("issued_at", sa.Text, nullable=False),
)

payments = sa.Table(
    "payments",
    metadata,
    sa.Column("invoice", sa.Text, sa.ForeignKey("invoices.id"), primary_key=True),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("reference", sa.Text),
    sa.Column("paid_at", sa.Text, nullable=False),
)
"""An invoice is paid when it has a row here."""

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
)
"""The plans that the tenant subscribed to; the last one counts."""

SCHEMA = Schema("billing", metadata, "tausestack_toolservers.billing.migrations")
