"""The application's own tenant filter on PostgreSQL, where tenants' rows share tables.

It stands above row-level security and knows nothing of it: either alone keeps tenants apart. It is put where SQL is
written, so that no query can leave it out, and costs nothing once a statement is compiled.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg

_PARAMETER = "own_tenant"
_OPTION = "tausestack_tenant"
_OWN: sa.ColumnElement[bool] = sa.column("tenant", sa.Text()) == sa.bindparam(_PARAMETER, None, sa.Text())


class OwnRows(PGCompiler_psycopg):
    """Writes SQL that reads, changes and deletes one tenant's rows alone.

    An insert names no tenant: the column's default is the transaction's own. Text stays as it is: the kit alone writes
    any, and none about rows.
    """

    def visit_table(self, *args: Any, **kw: Any) -> str:
        """Write a table that is read as a subquery of the tenant's rows."""
        above: Any = super()
        written: str = above.visit_table(*args, **kw)
        if not kw.get("asfrom") or kw.get("iscrud"):
            return written
        own = f"(SELECT * FROM {written} WHERE {self.process(_OWN)})"  # noqa: S608 - of parts that SQLAlchemy wrote
        named = getattr(kw.get("enclosing_alias"), "element", None) is args[0]  # else it is of a query around this one
        return own if named else f"{own} AS {self.preparer.quote(args[0].name)}"

    def visit_update(self, *args: Any, **kw: Any) -> str:
        """Write an update of the tenant's rows."""
        above: Any = super()
        return above.visit_update(args[0].where(_OWN), *args[1:], **kw)

    def visit_delete(self, *args: Any, **kw: Any) -> str:
        """Write a deletion of the tenant's rows."""
        above: Any = super()
        return above.visit_delete(args[0].where(_OWN), *args[1:], **kw)


def confine(engine: sa.Engine) -> None:
    """Have every statement of an engine see the rows alone of the tenant that its connection is `owned` by."""
    engine.dialect.statement_compiler = OwnRows
    event.listen(engine, "before_cursor_execute", _fill, retval=True)


def owned(raw: sa.Connection, tenant: str) -> sa.Connection:
    """Return a connection whose statements are the tenant's."""
    options: dict[str, Any] = {_OPTION: tenant}
    return raw.execution_options(**options)


def _fill(
    raw: sa.Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
) -> tuple[str, Any]:
    del cursor, context
    each: dict[str, Any]
    for each in parameters if executemany else (parameters,):
        if _PARAMETER in each:
            each[_PARAMETER] = raw.get_execution_options()[_OPTION]
    return statement, parameters
