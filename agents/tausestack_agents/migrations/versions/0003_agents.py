"""Agents as data, runs that start runs, decisions by what they are on."""

import sqlalchemy as sa

from tausestack.database.migrations import add_tenant_column, create_tenant_index, create_tenant_table

revision = "0003"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables of saved agents and of decisions, and tell of a run where it comes from."""
    for column in (
        sa.Column("version", sa.Integer()),
        sa.Column("kind", sa.Text()),
        sa.Column("rules", sa.JSON()),
        sa.Column("parent", sa.Text()),
        sa.Column("root", sa.Text()),
        sa.Column("depth", sa.Integer()),
        sa.Column("structured", sa.JSON()),
        sa.Column("context", sa.JSON()),
    ):
        add_tenant_column("runs", column)
    create_tenant_index("runs_by_parent", "runs", ["parent"])
    create_tenant_index("runs_by_root", "runs", ["root"])
    create_tenant_table(
        "agents",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
    )
    create_tenant_table(
        "specs",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.Text(), nullable=False),
        sa.Column("saved_by", sa.Text(), nullable=False),
    )
    create_tenant_table(
        "decisions",
        sa.Column("run", sa.Text(), primary_key=True),
        sa.Column("subject", sa.Text(), primary_key=True),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
