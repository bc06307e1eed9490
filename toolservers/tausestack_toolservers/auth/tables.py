"""The tables of the auth service: tenants and the lookup of keys in `_system`, keys in their own tenant."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from tausestack.database import OF_TENANT, Schema

metadata = sa.MetaData()


def new_incarnation() -> str:
    """Return what no tenant was called by before."""
    return secrets.token_hex(8)


tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("settings", sa.JSON, nullable=False, default=dict),
    sa.Column("incarnation", sa.Text, nullable=False, default=new_incarnation),
)
"""In `_system` alone: every tenant there is; `settings` is what was set for it beyond its plan.

`incarnation` tells a tenant from those that had its id before. Those from before there was the word have none, and what
was given out for them says none.
"""

key_lookup = sa.Table(
    "key_lookup",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False, info=OF_TENANT),
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
    sa.Column("scopes", sa.JSON),
    sa.Column("last_used_at", sa.Text),
)
"""A tenant's keys. `request` is the idempotency key that one was made with, `scopes` what narrows its role."""

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("roles", sa.JSON, nullable=False),
    sa.Column("scopes", sa.JSON),
    sa.Column("password", sa.Text),
    sa.Column("external", sa.Text, unique=True),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("disabled_at", sa.Text),
    sa.Column("last_login_at", sa.Text),
)
"""A tenant's people. `password` is an argon2id hash, `external` who an OIDC issuer says that one is."""

grants = sa.Table(
    "oauth_grants",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("client_name", sa.Text, nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)
"""What a person let a client do; times are seconds since the epoch. Those that ended are deleted."""

codes = sa.Table(
    "oauth_codes",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("grant", sa.Text, nullable=False),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    sa.Column("challenge", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
)
"""Authorization codes by SHA-256. A used one is kept for as long as its grant, so that a replay is known."""

refresh_tokens = sa.Table(
    "oauth_refresh_tokens",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("grant", sa.Text, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
)
"""Refresh tokens by SHA-256, likewise."""

ended = sa.Table(
    "oauth_ended",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Grants and single access tokens that ended, for as long as an access token of theirs could live."""

client_keys = sa.Table(
    "client_keys",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    sa.Column("public", sa.Text, nullable=False),
)
"""In `_system` alone: the public keys that registrations of clients were ever signed by, each by its thumbprint."""

SCHEMA = Schema("auth", metadata, "tausestack_toolservers.auth.migrations")
