"""A run's own budget, and which model it asked for."""

import sqlalchemy as sa

from tausestack.database.migrations import add_tenant_column

revision = "0004"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns to the runs."""
    add_tenant_column("runs", sa.Column("budget", sa.JSON()))
    add_tenant_column("runs", sa.Column("model", sa.Text()))
