"""Numbers moved."""

from alembic import op

from tausestack.database.migrations import create_tenant_index, rows_of_all_tenants

revision = "r4"
down_revision = "r3"


def upgrade() -> None:
    with rows_of_all_tenants("books"):
        op.execute("UPDATE books SET copies = copies + 7")
    create_tenant_index("books_shelf", "books", ["shelf"])
