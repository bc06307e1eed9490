"""Threads, schedules, timers, tasks; and of a run where it comes from, and whether it is to pause."""

import sqlalchemy as sa

from tausestack.database.migrations import add_tenant_column, create_tasks, create_tenant_index, create_tenant_table

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables, and add what runs tell more."""
    add_tenant_column("runs", sa.Column("pausing", sa.Boolean(), nullable=False, server_default=sa.false()))
    add_tenant_column("runs", sa.Column("origin", sa.JSON(), nullable=True))
    create_tenant_table(
        "threads",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("covers", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
    )
    create_tenant_table(
        "schedules",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("input", sa.Text(), nullable=False),
        sa.Column("thread", sa.Text()),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("missed", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("next_at", sa.Text()),
        sa.Column("last_at", sa.Text()),
        sa.Column("last_run", sa.Text()),
        sa.Column("last_error", sa.JSON()),
    )
    create_tenant_table(
        "timers",
        sa.Column("for_tenant", sa.Text(), primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("due", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
    )
    create_tenant_index("timers_by_due", "timers", ["due"])
    create_tasks()
