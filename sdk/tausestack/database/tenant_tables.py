"""How a table described for one tenant becomes a table of all tenants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa


def led_by_tenant(
    name: str, tenant: sa.Column[str], items: Sequence[sa.schema.SchemaItem]
) -> list[sa.schema.SchemaItem]:
    """Return a table's items with the tenant's column in front, and in front of every key."""
    alone = sa.Table(name, sa.MetaData(), *items)
    if alone.indexes:
        raise ValueError(f"{name}: make its indexes with create_tenant_index")
    key = list(alone.primary_key.columns)
    if not key:
        raise ValueError(f"{name}: a tenant table needs a primary key")
    columns = [
        ordered_bytewise(column_like(column, identity=column is alone.autoincrement_column)) for column in alone.columns
    ]
    constraints = (_led(constraint, tenant.name) for constraint in _ordered(alone.constraints))
    return [
        ordered_bytewise(tenant),
        *columns,
        sa.PrimaryKeyConstraint(tenant.name, *(column.name for column in key)),
        *constraints,
    ]


def column_like(column: sa.Column[Any], *, identity: bool = False) -> sa.Column[Any]:
    """Return a column of the same name, type, nullability and server default, without its keys."""
    extra = [sa.Identity()] if identity else []
    return sa.Column(
        column.name,
        column.type,
        *extra,
        nullable=column.nullable,
        server_default=_server_default(column),
    )


def ordered_bytewise(column: sa.Column[Any]) -> sa.Column[Any]:
    """Have text compared and sorted by its bytes, as on SQLite, whatever the database's language."""
    if isinstance(column.type, sa.String) and column.type.collation is None:
        column.type = column.type.copy()
        column.type.collation = "C"
    return column


def _server_default(column: sa.Column[Any]) -> str | sa.TextClause | None:
    default = column.server_default
    if default is None:
        return None
    if isinstance(default, sa.DefaultClause) and isinstance(default.arg, str | sa.TextClause):
        return default.arg
    raise ValueError(f"{column.name}: a tenant table takes a server default only as text")


def _ordered(constraints: Iterable[sa.Constraint]) -> list[sa.Constraint]:
    kept = [constraint for constraint in constraints if not isinstance(constraint, sa.PrimaryKeyConstraint)]
    return sorted(kept, key=lambda constraint: (type(constraint).__name__, repr(constraint)))


def _led(constraint: sa.Constraint, tenant: str) -> sa.Constraint:
    if isinstance(constraint, sa.UniqueConstraint):
        return sa.UniqueConstraint(tenant, *(column.name for column in constraint.columns), name=constraint.name)
    if isinstance(constraint, sa.ForeignKeyConstraint):
        return _foreign_key(constraint, tenant)
    if isinstance(constraint, sa.CheckConstraint):
        return sa.CheckConstraint(constraint.sqltext, name=constraint.name)
    raise ValueError(f"a {type(constraint).__name__} is not for tenant tables")


def _foreign_key(constraint: sa.ForeignKeyConstraint, tenant: str) -> sa.ForeignKeyConstraint:
    own = constraint.column_keys
    targets = [element.target_fullname for element in constraint.elements]
    table = targets[0].rpartition(".")[0]
    ondelete = constraint.ondelete
    if ondelete is not None and ondelete.upper() == "SET NULL":
        ondelete = f"SET NULL ({', '.join(own)})"  # never the tenant
    return sa.ForeignKeyConstraint(
        [tenant, *own],
        [f"{table}.tenant", *targets],
        name=constraint.name,
        ondelete=ondelete,
        # So that a tenant's rows can be deleted table by table, in any order.
        deferrable=True,
        initially="IMMEDIATE",
    )
