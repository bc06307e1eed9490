"""What language models cost a tenant a month."""

import sqlalchemy as sa

from tausestack.database.migrations import create_tenant_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables of what is spent and what is reserved."""
    create_tenant_table(
        "spending",
        sa.Column("month", sa.Text(), primary_key=True),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
    )
    create_tenant_table(
        "reservations",
        sa.Column("id", sa.Text(), primary_key=True),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
    )
