"""A table, filled from another."""

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import create_tenant_table, rows_of_all_tenants

revision = "r3"
down_revision = "r2"


def upgrade() -> None:
    create_tenant_table("shelves", sa.Column("name", sa.Text(), primary_key=True))
    tenant = "tenant, " if op.get_bind().dialect.name == "postgresql" else ""
    with rows_of_all_tenants("books"), rows_of_all_tenants("shelves"):
        op.execute(f"INSERT INTO shelves ({tenant}name) SELECT DISTINCT {tenant}shelf FROM books")
