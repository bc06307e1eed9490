"""A run's own budget, and which model it asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns to the runs."""
    op.add_column("runs", sa.Column("budget", sa.JSON()))
    op.add_column("runs", sa.Column("model", sa.Text()))
