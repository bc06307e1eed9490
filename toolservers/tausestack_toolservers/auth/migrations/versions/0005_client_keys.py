"""The public keys that registrations of clients are signed by."""

import sqlalchemy as sa

from tausestack.database.migrations import create_tenant_table

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the table."""
    create_tenant_table(
        "client_keys",
        sa.Column("kid", sa.Text(), primary_key=True),
        sa.Column("public", sa.Text(), nullable=False),
    )
