"""The tables of the auth service: tenants and the lookup of keys in `_system`, keys in their own tenant."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database import Schema

metadata = sa.MetaData()

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False, default=dict),
)
"""In `_system` alone: every tenant there is; `settings` is what was set for it beyond its plan."""

key_lookup = sa.Table(
    "key_lookup",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
)
"""In `_system` alone: whose a key is, by the SHA-256 of all of it. A row whose key is not there means nothing."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Text),
    sa.Column("revoked_at", sa.Text),
    sa.Column("request", sa.Text, unique=True),
)
"""A tenant's keys. `request` is the idempotency key that one was made with."""

SCHEMA = Schema("auth", metadata, "tausestack_toolservers.auth.migrations")
