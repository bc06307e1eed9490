"""Data keys of the tenant's own, which its secrets are sealed by."""

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import create_data_keys, rows_of_all_tenants

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the keys' table; what was sealed by the master key itself is of version 0 until it is sealed anew."""
    create_data_keys()
    with rows_of_all_tenants("secrets"):
        op.execute(sa.text("UPDATE secrets SET version = 0"))
