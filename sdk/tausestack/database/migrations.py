"""What a service's Alembic revisions are written with, so that each is written once for both databases."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

from tausestack.database.idempotency import KEYS
from tausestack.database.ownership import TENANT_ROLE
from tausestack.database.tasks import PROCESSES, TASKS
from tausestack.database.tenant_tables import column_like, led_by_tenant, ordered_bytewise
from tausestack.database.vault import DATA_KEYS

_TENANT = "nullif(current_setting('app.tenant', true), '')"


def create_tenant_table(name: str, *items: sa.schema.SchemaItem, **options: Any) -> None:
    """Create a table of tenants' rows; columns and constraints are given as though there were one tenant.

    On PostgreSQL the tenant leads each key (primary, unique and foreign) and forced row-level security is the tenant's
    wall. Indexes are made by `create_tenant_index`.
    """
    if not _on_postgresql():
        op.create_table(name, *items, **options)
        return
    tenant = sa.Column("tenant", sa.Text(), nullable=False, server_default=sa.text(_TENANT))
    op.create_table(name, *led_by_tenant(name, tenant, items), **options)
    table = op.get_bind().dialect.identifier_preparer.quote(name)
    for statement in (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} USING (tenant = {_TENANT}) WITH CHECK (tenant = {_TENANT})",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {TENANT_ROLE}",
    ):
        op.execute(statement)


def add_tenant_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column to a table of tenants' rows."""
    op.add_column(table, ordered_bytewise(column) if _on_postgresql() else column)


def create_tenant_index(name: str, table: str, columns: Sequence[str], *, unique: bool = False) -> None:
    """Create an index of a tenant table, led by the tenant on PostgreSQL."""
    op.create_index(name, table, ["tenant", *columns] if _on_postgresql() else [*columns], unique=unique)


def create_idempotency_keys() -> None:
    """Create the kit's table of idempotency keys and their results."""
    _create_like(KEYS)


def create_tasks() -> None:
    """Create the kit's tables of tasks, for a service with tools that may answer with one."""
    _create_like(TASKS)
    create_tenant_index("mcp_tasks_by_key", TASKS.name, ["tool", "key"], unique=True)
    create_tenant_index("mcp_tasks_by_expiry", TASKS.name, ["expires_at"])
    _create_like(PROCESSES)


def create_data_keys() -> None:
    """Create the kit's table of data keys, for a service with sealed tables."""
    _create_like(DATA_KEYS)


@contextmanager
def rows_of_all_tenants(table: str) -> Generator[None]:
    """Let a revision change a tenant table's rows, all tenants' at once, in the midst of its transaction."""
    if not _on_postgresql():
        yield
        return
    quoted = op.get_bind().dialect.identifier_preparer.quote(table)
    op.execute(f"ALTER TABLE {quoted} NO FORCE ROW LEVEL SECURITY")
    yield
    op.execute(f"ALTER TABLE {quoted} FORCE ROW LEVEL SECURITY")


def _create_like(table: sa.Table) -> None:
    create_tenant_table(
        table.name,
        *(column_like(column) for column in table.columns),
        sa.PrimaryKeyConstraint(*(column.name for column in table.primary_key.columns)),
    )


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
