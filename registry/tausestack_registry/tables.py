"""The registry's tables; each tenant has its own."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from tausestack.database import Schema, SealedTable

metadata = sa.MetaData()

services = sa.Table(
    "services",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # installed or removed whatever the billing plan says, or planned
    sa.Column("is_default", sa.Boolean, nullable=False, default=False),
)
"""A tenant's choices about our own services: where they differ from its billing plan, and which is the default."""

installations = sa.Table(
    "installations",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("registry_type", sa.Text, nullable=False),
    sa.Column("identifier", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("argv", sa.JSON, nullable=False),
    sa.Column("store", sa.Text, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("installed_at", sa.Text, nullable=False),  # UTC, ISO 8601
    sa.Column("files", sa.JSON, nullable=False),  # SHA-256 of each file of its package by name
    sa.Column("protocols", sa.JSON, nullable=False),  # newest first
    sa.Column("offer", sa.JSON, nullable=False),
)
"""Third-party servers."""

pins = sa.Table(
    "pins",
    metadata,
    sa.Column("installation", sa.Text, primary_key=True),
    sa.Column("tool", sa.Text, primary_key=True),
    sa.Column("raw", sa.Text, nullable=False),  # the tool object as it came, as JSON
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # active or quarantined
    sa.Column("approved", sa.Text),  # the hash that was approved last
)
"""The tools of third-party servers as they were last seen."""

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("installation", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)
"""Sealed values, each with the version of the data key that it is sealed by."""

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""What the registry was told of the tenant: its billing plan."""


def _before_data_keys(tenant: str, key: Sequence[str]) -> bytes:
    return "|".join((tenant, "secrets", "/".join(key), "1")).encode()


SCHEMA = Schema(
    "registry",
    metadata,
    "tausestack_registry.migrations",
    sealed=[SealedTable(secrets, unversioned=_before_data_keys)],
)
