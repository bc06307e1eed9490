"""The table of the storage service."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import Schema

metadata = sa.MetaData()

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
)
"""Documents as JSON text: a database's own JSON type would not give back what was put."""

totals = sa.Table(
    "totals",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
)
"""`bytes`: how long all documents are, kept with each write of one."""

SCHEMA = Schema("storage", metadata, "tausestack_toolservers.storage.migrations")
