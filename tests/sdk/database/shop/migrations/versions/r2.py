"""Orders, and accounts that close."""

import os
import signal
from pathlib import Path

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import create_tenant_index, create_tenant_table, rows_of_all_tenants

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("closed", sa.Boolean(), nullable=False, server_default=sa.false()))
    with rows_of_all_tenants("accounts"):
        op.execute("UPDATE accounts SET balance = balance + 1000")
    marker = os.environ.get("SHOP_STOPS_HERE")
    if marker:
        Path(marker).touch()
        signal.pause()
    create_tenant_table(
        "orders",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], ondelete="CASCADE"),
        sa.UniqueConstraint("account", "reference"),
    )
    create_tenant_index("orders_reference", "orders", ["reference"])
