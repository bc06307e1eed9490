"""Runs, journal, events, dispatch."""

import sqlalchemy as sa

from tausestack.database.migrations import create_idempotency_keys, create_tenant_index, create_tenant_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of the agents service."""
    create_tenant_table(
        "runs",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("thread", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("output", sa.Text()),
        sa.Column("interrupt", sa.JSON()),
        sa.Column("decision", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text()),
        sa.Column("ended_at", sa.Text()),
    )
    create_tenant_index("runs_by_age", "runs", ["created_at", "id"])
    create_tenant_index("runs_by_thread", "runs", ["thread", "status"])
    create_tenant_table(
        "journal",
        sa.Column("run", sa.Text(), primary_key=True),
        sa.Column("task", sa.Text(), primary_key=True),
        sa.Column("call", sa.Text(), primary_key=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("arguments", sa.JSON()),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("approval", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("result", sa.JSON()),
        sa.Column("error", sa.JSON()),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text()),
    )
    create_tenant_table(
        "events",
        sa.Column("run", sa.Text(), primary_key=True),
        sa.Column("seq", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
    create_tenant_table(
        "dispatch",
        sa.Column("for_tenant", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("wakes", sa.Integer(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
    )
    create_tenant_index("dispatch_by_due", "dispatch", ["due", "lease_until"])
    create_idempotency_keys()
