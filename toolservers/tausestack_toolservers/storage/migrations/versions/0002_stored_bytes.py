"""How many bytes a tenant stores, kept beside its documents."""

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import create_tenant_table, rows_of_all_tenants

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table and count what is there."""
    create_tenant_table(
        "totals",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    )
    with rows_of_all_tenants("documents"), rows_of_all_tenants("totals"):
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                "INSERT INTO totals (tenant, name, amount)"
                " SELECT tenant, 'bytes', sum(length(body)) FROM documents GROUP BY tenant"
            )
        else:
            op.execute(
                "INSERT INTO totals (name, amount) SELECT 'bytes', sum(length(body)) FROM documents HAVING count(*) > 0"
            )
