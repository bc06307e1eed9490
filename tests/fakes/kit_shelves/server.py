"""Shelves with books: each revision changes rows in a way that doing it twice, or half, would show."""

from __future__ import annotations

import sqlalchemy as sa

import tausestack as ts
from tausestack.database import Schema

metadata = sa.MetaData()

books = sa.Table(
    "books",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("copies", sa.Integer, nullable=False),
    sa.Column("shelf", sa.Text),
)

shelves = sa.Table("shelves", metadata, sa.Column("name", sa.Text, primary_key=True))

SCHEMA = Schema("shelves", metadata, "kit_shelves.migrations")

server = ts.mcp.Server("shelves", version="1.0.0", schema=SCHEMA)
