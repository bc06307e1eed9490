"""Sealed values in a tenant's tables, under data keys of the tenant's own, which a master key seals in turn.

A service declares which of its tables hold sealed values (`Schema(…, sealed=[SealedTable(secrets)])`) and calls
`create_data_keys()` in a revision. Each sealed row bears the version of the data key that it is sealed by, so that rows
of two versions are read side by side while one takes over from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
import sqlalchemy as sa

from tausestack.clock import utc_now
from tausestack.database.connection import Connection, Row
from tausestack.errors import InternalError, Unavailable
from tausestack.sealing import Masters, new_key, place, seal, unseal

DATA_KEYS = sa.Table(
    "data_keys",
    sa.MetaData(),
    sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("master", sa.Text(), nullable=False),
    sa.Column("sealed", sa.LargeBinary(), nullable=False),
    sa.Column("created_at", sa.Text(), nullable=False),
)
UNVERSIONED = 0
"""The version of rows that were sealed before there were data keys."""
BATCH = 200
"""How many rows are sealed anew in one transaction."""


@dataclass(frozen=True)
class SealedTable:
    """A table whose rows hold a sealed value each, bound to the tenant, the table, the primary key and the version."""

    table: sa.Table
    version: str = "version"
    """The column of the data key's version."""
    value: str = "sealed"
    """The column of the sealed bytes."""
    unversioned: Callable[[str, Sequence[str]], bytes] | None = field(default=None, compare=False)
    """Returns what a row of version 0 is bound to, by tenant and primary key; it is sealed by a master key itself."""

    @property
    def key(self) -> list[str]:
        """The names of the primary key's columns."""
        return [column.name for column in self.table.primary_key.columns]

    def at(self, row: Mapping[str, Any]) -> sa.ColumnElement[bool]:
        """Return the condition that is true of one row."""
        return sa.and_(*(self.table.c[name] == row[name] for name in self.key))


class Vault:
    """Seals and opens values in the tables of one service, in transactions of its tenants."""

    def __init__(self, service: str, tables: Iterable[SealedTable], masters: Masters | None) -> None:
        """Without `masters` the service runs alone: it keeps no secrets."""
        self._service = service
        self._tables = {one.table.name: one for one in tables}
        self._masters = masters
        self._known: Mapping[str, bytes] = {}

    async def seal(self, db: Connection, table: sa.Table, row: Mapping[str, Any], value: str) -> dict[str, Any]:
        """Return a row, given by its primary key and whatever else it holds, with its version and sealed value."""
        one = self._tables[table.name]
        version, key = await self._newest(db)
        return {**row, one.version: version, one.value: seal(key, value.encode(), self._place(db, one, row, version))}

    async def open(self, db: Connection, table: sa.Table, rows: Iterable[Row]) -> list[str]:
        """Return what rows hold, in their order; raises `InternalError` for one that belongs elsewhere."""
        one, keys = self._tables[table.name], await self._keys(db)
        return [(await self._opened(db, one, keys, row)).decode() for row in rows]

    async def rewrap(self, db: Connection) -> int:
        """Seal the tenant's data keys by the current master, and what was never under one; return how many were not."""
        masters = await self._ask()
        current = next(iter(masters))
        stale = await db.execute(sa.select(DATA_KEYS).where(DATA_KEYS.c.master != current))
        for row in stale:
            key = await self._unwrapped(db, row)
            values = {"master": current, "sealed": self._wrapped(db, key, row.version, current, masters[current])}
            await db.change(sa.update(DATA_KEYS).where(DATA_KEYS.c.version == row.version).values(values))
        return len(stale) + await self._reseal(db, unversioned=True)

    async def renew(self, db: Connection) -> int:
        """Go on with replacing the tenant's data key, by at most 200 rows; return how many rows are left.

        Where no replacement is under way this begins one. When none is left the older keys are gone.
        """
        await self._reseal(db, unversioned=True)
        versions = [row.version for row in await db.execute(sa.select(DATA_KEYS.c.version))]
        if len(versions) == 1:
            await self._add_key(db, versions[0] + 1)
        left = await self._reseal(db, most=BATCH)
        if not left:
            newest = sa.select(sa.func.max(DATA_KEYS.c.version)).scalar_subquery()
            await db.change(sa.delete(DATA_KEYS).where(DATA_KEYS.c.version < newest))
        return left

    async def _reseal(self, db: Connection, *, most: int | None = None, unversioned: bool = False) -> int:
        """Seal rows by the newest data key; return how many are left, or of the unversioned how many there were."""
        left = 0
        for one in self._tables.values():
            column = one.table.c[one.version]
            wanted = column == UNVERSIONED
            if not unversioned:
                newest = await db.scalar(sa.select(sa.func.max(DATA_KEYS.c.version)))
                wanted = column != (newest or UNVERSIONED)
            total = await db.scalar(sa.select(sa.func.count()).select_from(one.table).where(wanted))
            rows = await db.execute(sa.select(one.table).where(wanted).limit(total if most is None else most))
            values = await self.open(db, one.table, rows)
            for row, value in zip(rows, values, strict=True):
                fields = {name: getattr(row, name) for name in one.key}
                fresh = await self.seal(db, one.table, fields, value)
                kept = {name: fresh[name] for name in (one.version, one.value)}
                await db.change(sa.update(one.table).where(one.at(fields)).values(kept))
            left += total if unversioned else total - len(rows)
        return left

    def _place(self, db: Connection, one: SealedTable, row: Mapping[str, Any], version: int) -> bytes:
        table = f"{self._service}.{one.table.name}"
        return place(db.tenant, table, *(str(row[name]) for name in one.key), version)

    async def _opened(self, db: Connection, one: SealedTable, keys: Mapping[int, bytes], row: Row) -> bytes:
        version, sealed = int(getattr(row, one.version)), bytes(getattr(row, one.value))
        own = {name: getattr(row, name) for name in one.key}
        if version == UNVERSIONED and one.unversioned is not None:
            bound = one.unversioned(db.tenant, [str(value) for value in own.values()])
            return await self._opened_by_any(sealed, bound)
        key = keys.get(version)
        if key is None:
            raise InternalError("a secret can't be opened: its data key is gone")
        return unseal(key, sealed, self._place(db, one, own, version))

    async def _opened_by_any(self, sealed: bytes, bound: bytes) -> bytes:
        masters = list((await self._ask()).values())
        for master in masters[:-1]:
            try:
                return unseal(master, sealed, bound)
            except InternalError:
                continue
        return unseal(masters[-1], sealed, bound)

    async def _keys(self, db: Connection) -> dict[int, bytes]:
        rows = await db.execute(sa.select(DATA_KEYS))
        return {row.version: await self._unwrapped(db, row) for row in rows}

    async def _newest(self, db: Connection) -> tuple[int, bytes]:
        """Return the version and the key that is sealed with, which is made where the tenant has none."""
        row = await db.one(sa.select(DATA_KEYS).order_by(DATA_KEYS.c.version.desc()).limit(1))
        if row is None:
            return UNVERSIONED + 1, await self._add_key(db, UNVERSIONED + 1)
        return row.version, await self._unwrapped(db, row)

    async def _add_key(self, db: Connection, version: int) -> bytes:
        # Asked within the tenant's writing transaction: a master that is being retired seals no key behind the back
        # of whoever seals them anew, since that one waits for this transaction.
        masters = await self._ask()
        current = next(iter(masters))
        key = new_key()
        sealed = self._wrapped(db, key, version, current, masters[current])
        values = {"version": version, "master": current, "sealed": sealed, "created_at": utc_now()}
        await db.change(sa.insert(DATA_KEYS).values(values))
        return key

    def _wrapped(self, db: Connection, key: bytes, version: int, master: str, by: bytes) -> bytes:
        return seal(by, key, place(db.tenant, f"{self._service}.{DATA_KEYS.name}", master, version))

    async def _unwrapped(self, db: Connection, row: Row) -> bytes:
        master = self._known.get(row.master) or (await self._ask()).get(row.master)
        if master is None:
            raise Unavailable(f"the tenant's data key is sealed by the master key {row.master}, which is not here")
        bound = place(db.tenant, f"{self._service}.{DATA_KEYS.name}", row.master, row.version)
        return unseal(master, row.sealed, bound)

    async def _ask(self) -> Mapping[str, bytes]:
        if self._masters is None:
            raise Unavailable(f"{self._service} runs alone, without the keys that secrets are sealed with")
        self._known = await anyio.to_thread.run_sync(self._masters)
        return self._known
