"""A tenant's rows as they arrive: gathered in files at the revision that they left at, brought to the newest, moved in.

The files are SQLite databases. So rows of an older release go through the very revisions that its databases go
through, and each row meets the constraints that it met where it came from. On SQLite the file of the tenant's own rows
then takes its place; on PostgreSQL they are inserted in one transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from tausestack.database.connection import Connection
from tausestack.database.engines import begin, open_engine
from tausestack.database.files import migrate_file, new_file
from tausestack.database.leaving import Record, Sealing, sealed_place
from tausestack.database.plain import decoded, inserting, parameters, reading
from tausestack.database.schema import Schema, owner_column
from tausestack.database.tenants import TenantDatabases
from tausestack.database.vault import Vault
from tausestack.database.whole import declared
from tausestack.errors import Conflict, InvalidRequest
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object

AT_ONCE = 100
_NOT_OURS = frozenset({"alembic_version", "data_keys"})
_OWN, _SYSTEM = "table", "system"

Put = Callable[[str, list[dict[str, Any]]], None]
"""Puts rows into a table of a name."""


class Taken(Conflict):
    """What `_system` is to keep about a tenant, it keeps about another: one key is not two tenants'."""


class Arriving:
    """A service's share of a tenant on its way in; one that is killed leaves nothing but files in a folder."""

    def __init__(self, databases: TenantDatabases, data: Path, folder: Path, tenant: str, revision: str) -> None:
        """Gather in a folder, at the revision that the rows are of."""
        self._databases, self._data, self._tenant, self._revision = databases, data, tenant, revision
        self._schema: Schema = databases.schema
        self._files = {kind: folder / f"{self._schema.service}-{kind}.db" for kind in (_OWN, _SYSTEM)}
        self._about = 0
        """How many rows belong in `_system`."""
        self._owners = {
            table.name: owner.name for table in declared(self._schema) if (owner := owner_column(table)) is not None
        }

    def gather(self, records: Iterable[list[Record]]) -> int:
        """Take in all rows, which come some at a time, and return how many those were.

        Raises `InvalidRequest` for what is no row of the service's, or can't be beside the others.
        """
        taken = 0
        for path in self._files.values():
            new_file(self._schema, self._data, path, self._revision)
        with _filling(self._files[_OWN]) as own, _filling(self._files[_SYSTEM]) as system:
            put = {_OWN: own, _SYSTEM: system}
            for some in records:
                taken += len(some)
                self._about += sum(_SYSTEM in record for record in some)
                for (kind, table), rows in groupby(map(self._parsed, some), lambda one: one[:2]):
                    put[kind](table, [row for *_, row in rows])
        for path in self._files.values():
            if self._revision != self._schema.head:
                migrate_file(self._schema, path)
            _flush(path)
        return taken

    async def move_in(self) -> None:
        """Put the rows where they belong, those of `_system` that are about the tenant last."""
        if await self._databases.exists(self._tenant):
            raise Conflict(f"{self._schema.service} keeps something under this name already")
        if self._databases.in_files:
            self._files[_OWN].rename(self._data / "tenants" / self._tenant / f"{self._schema.service}.db")
        else:
            await self._insert(self._tenant, self._files[_OWN], set[str]())
        if self._about:
            await self._insert(SYSTEM_TENANT, self._files[_SYSTEM], {*self._owners})
        for path in self._files.values():
            path.unlink(missing_ok=True)

    async def unseal(self, vault: Vault, opened: Sealing) -> None:
        """Seal what travelled sealed by data keys of the tenant's own."""
        async with self._databases.transaction(self._tenant) as db:
            for one in self._schema.sealed:
                for row in await db.execute(sa.select(one.table)):
                    plain = dict(zip(one.table.c.keys(), row, strict=True))
                    value = opened(sealed_place(self._schema.service, one.table, plain), plain[one.value])
                    fresh = await vault.seal(db, one.table, {name: plain[name] for name in one.key}, value.decode())
                    kept = {name: fresh[name] for name in (one.version, one.value)}
                    await db.change(sa.update(one.table).where(one.at(plain)).values(kept))

    def _parsed(self, record: Record) -> tuple[str, str, dict[str, Any]]:
        """Return which kind of record it is, its table and its row."""
        kind = _OWN if _OWN in record else _SYSTEM
        table, row = record.get(kind), as_object(record.get("row"))
        if record.keys() != {kind, "row"} or not isinstance(table, str) or row is None:
            raise InvalidRequest("a record is no row")
        if kind == _OWN:
            return kind, table, row
        owner = self._owners.get(table)
        if owner is None or owner in row or self._tenant == SYSTEM_TENANT:
            raise InvalidRequest(f"{table[:60]} keeps nothing about tenants")
        return kind, table, {**row, owner: self._tenant}

    async def _insert(self, tenant: str, path: Path, only: set[str]) -> None:
        """Insert a file's rows as a tenant's, all or none; of some tables alone, where any are named."""
        highest: dict[tuple[str, str], int | None] = {}
        engine = open_engine(path)
        try:
            there = set(sa.inspect(engine).get_table_names())
            tables = [one for one in declared(self._schema) if one.name in there and (not only or one.name in only)]
            async with self._databases.transaction(tenant) as db:
                await _put_off(db)
                for table in tables:
                    for rows in _rows_of(engine, table):
                        await db.change(inserting(table, db.dialect), rows)
                    if (number := table.autoincrement_column) is not None:
                        highest[table.name, number.name] = await db.scalar(sa.select(sa.func.max(number)))
        except DBAPIError as error:
            if tenant == SYSTEM_TENANT != self._tenant and isinstance(error, IntegrityError):
                raise Taken(f"what {self._schema.service} knows it by is another tenant's here") from error
            raise _unfit(self._schema.service, error) from error
        finally:
            engine.dispose()
        for (name, column), number in highest.items():
            if number is not None:
                await self._databases.count_on(name, column, number)


async def _put_off(db: Connection) -> None:
    """Have what refers to rows that are yet to come checked at the end."""
    checks_later = {"postgresql": "SET CONSTRAINTS ALL DEFERRED", "sqlite": "PRAGMA defer_foreign_keys = ON"}
    await db.execute(sa.text(checks_later[db.dialect]))


@contextmanager
def _filling(path: Path) -> Generator[Put]:
    """Fill a file in one transaction."""
    engine = open_engine(path)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    try:
        with begin(engine, write=True) as raw:
            raw.exec_driver_sql("PRAGMA defer_foreign_keys = ON")

            def put(name: str, rows: list[dict[str, Any]]) -> None:
                table = metadata.tables.get(name)
                if table is None or name in _NOT_OURS:
                    raise InvalidRequest(f"there is no table {name[:60]}")
                raw.execute(inserting(table, "sqlite"), [parameters(decoded(table, row)) for row in rows])

            try:
                yield put
                raw.commit()
            except (DBAPIError, OverflowError) as error:
                raise _unfit(path.stem, error) from error
    finally:
        engine.dispose()


def _rows_of(engine: sa.Engine, table: sa.Table) -> Generator[list[dict[str, Any]]]:
    with begin(engine, write=False) as raw:
        result = raw.execute(reading(table))
        while rows := result.fetchmany(AT_ONCE):
            yield [parameters(dict(zip(table.c.keys(), row, strict=True))) for row in rows]


def _unfit(where: str, error: Exception) -> InvalidRequest:
    # Without the values: what the database says of them may be long, and is a tenant's.
    original = getattr(error, "orig", error)
    reason = str(original).partition("\n")[0][:200]
    return InvalidRequest(f"the rows of {where} can't be taken in: {type(original).__name__}: {reason}")


def _flush(path: Path) -> None:
    for name in (f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
