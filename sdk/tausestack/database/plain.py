"""Rows as JSON that either kind of database can take in again.

What JSON has no word for stands in an object of one key: `$b` bytes (base64), `$t` a moment, `$d` a date, `$n` a
decimal number, `$f` a number that is none. Columns of JSON hold their text, of which a driver's idea is not what was
written.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import sqlalchemy as sa

from tausestack.errors import InternalError, InvalidRequest
from tausestack.raw import as_object

PlainRow: TypeAlias = dict[str, Any]
"""A row's values as JSON has them, by the names of their columns."""

_READERS: dict[str, Callable[[str], Any]] = {
    "$b": lambda text: b64decode(text, validate=True),
    "$t": datetime.fromisoformat,
    "$d": date.fromisoformat,
    "$n": Decimal,
    "$f": float,
}
_KINDS: tuple[tuple[type[Any], tuple[type, ...]], ...] = (
    (sa.JSON, (str,)),
    (sa.Boolean, (bool,)),
    (sa.Integer, (int,)),
    (sa.Float, (float, int)),
    (sa.Numeric, (Decimal, int)),
    (sa.LargeBinary, (bytes,)),
    (sa.DateTime, (datetime,)),
    (sa.Date, (date,)),
    (sa.String, (str,)),
)


def is_json(column: sa.Column[Any]) -> bool:
    """Return whether a column travels as its text."""
    return isinstance(column.type, sa.JSON)


def reading(table: sa.Table) -> sa.Select[Any]:
    """Return the query of a table's rows as they travel, in the order of their primary key."""
    columns = [sa.cast(column, sa.Text).label(column.name) if is_json(column) else column for column in table.columns]
    return sa.select(*columns).order_by(*table.primary_key.columns)


def inserting(table: sa.Table, dialect: str) -> sa.Insert:
    """Return the insertion of rows as they travel, whose parameters are named after their columns."""
    plain = sa.table(table.name, *(sa.column(each.name, _carried(each)) for each in table.columns))
    values: dict[str, Any] = {}
    for column in table.columns:
        given = sa.bindparam(f"v_{column.name}", type_=_carried(column))
        # SQLite's own cast to JSON would be one to a number.
        values[column.name] = sa.cast(given, column.type) if is_json(column) and dialect == "postgresql" else given
    return sa.insert(plain).values(values)


def parameters(row: PlainRow) -> dict[str, Any]:
    """Return a decoded row as the parameters of `inserting`."""
    return {f"v_{name}": value for name, value in row.items()}


def encoded(table: sa.Table, row: Sequence[Any]) -> PlainRow:
    """Return a row that `reading` gave as it travels."""
    return {str(column.name): _encoded(value) for column, value in zip(table.columns, row, strict=True)}


def decoded(table: sa.Table, row: PlainRow) -> dict[str, Any]:
    """Return a row's values as they were, or raise `InvalidRequest` for what is no row of the table."""
    if row.keys() != {column.name for column in table.columns}:
        raise InvalidRequest(f"a row of {table.name} has other columns than the table")
    return {column.name: _checked(column, _decoded(row[column.name])) for column in table.columns}


def _carried(column: sa.Column[Any]) -> sa.types.TypeEngine[Any]:
    return sa.Text() if is_json(column) else column.type


def _encoded(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"$f": repr(value)}
        case bytes():
            return {"$b": b64encode(value).decode()}
        case datetime():
            return {"$t": value.isoformat()}
        case date():
            return {"$d": value.isoformat()}
        case Decimal():
            return {"$n": str(value)}
        case _:
            raise InternalError(f"a value of type {type(value).__name__} can't be exported")


def _decoded(value: Any) -> Any:
    if not isinstance(value, (dict, list)):
        return value
    kinds = as_object(value) or {}
    kind = next(iter(kinds), "")
    read, text = _READERS.get(kind), kinds.get(kind)
    if read is None or not isinstance(text, str) or len(kinds) != 1:
        raise InvalidRequest("a row holds a value of a kind that is not known")
    try:
        return read(text)
    except (ValueError, ArithmeticError) as error:
        raise InvalidRequest("a row holds a value that can't be read") from error


def _checked(column: sa.Column[Any], value: Any) -> Any:
    if value is None:
        return None
    for kind, types in _KINDS:
        if isinstance(column.type, kind):
            if isinstance(value, types) and not (isinstance(value, bool) and bool not in types):
                return value
            raise InvalidRequest(f"a row of {column.table.name} holds what its column {column.name} can't")
    return value
