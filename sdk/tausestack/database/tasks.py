"""Tasks: what a tenant's long calls are kept as, beside the rows that they work on."""

from __future__ import annotations

import sqlalchemy as sa

from tausestack.database.schema import OF_TENANT

_METADATA = sa.MetaData()

TASKS = sa.Table(
    "mcp_tasks",
    _METADATA,
    sa.Column("id", sa.Text(), primary_key=True),
    sa.Column("principal", sa.Text(), nullable=False),
    sa.Column("tool", sa.Text(), nullable=False),
    sa.Column("key", sa.Text()),
    sa.Column("digest", sa.Text(), nullable=False),
    sa.Column("call", sa.JSON(), nullable=False),
    sa.Column("process", sa.Text(), nullable=False),
    sa.Column("runs", sa.Integer(), nullable=False),
    sa.Column("cancelling", sa.Boolean(), nullable=False),
    sa.Column("ending", sa.Text()),
    sa.Column("message", sa.Text()),
    sa.Column("asked", sa.JSON(), nullable=False),
    sa.Column("answers", sa.JSON(), nullable=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("ttl_ms", sa.BigInteger(), nullable=False),
    sa.Column("poll_ms", sa.BigInteger(), nullable=False),
    sa.Column("created_at", sa.Text(), nullable=False),
    sa.Column("updated_at", sa.Text(), nullable=False),
    sa.Column("expires_at", sa.Text(), nullable=False),
)

PROCESSES = sa.Table(
    "mcp_task_processes",
    _METADATA,
    sa.Column("process", sa.Text(), primary_key=True),
    sa.Column("of_tenant", sa.Text(), primary_key=True, info=OF_TENANT),
    sa.Column("seen_at", sa.Text(), nullable=False),
)
"""In `_system`: which process has unfinished tasks of which tenant, and when it was last seen alive."""
