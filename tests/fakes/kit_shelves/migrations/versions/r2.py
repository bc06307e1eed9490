"""A column, filled from what is there."""

import sqlalchemy as sa
from alembic import op

from tausestack.database.migrations import rows_of_all_tenants

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.add_column("books", sa.Column("shelf", sa.Text(), nullable=True))
    with rows_of_all_tenants("books"):
        op.execute("UPDATE books SET copies = copies * 10, shelf = 'shelf ' || copies")
