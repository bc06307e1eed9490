"""A tenant's file whose log is torn, cut short or flipped: what is left is whole, and begins as what was committed."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa

from tausestack.database import TenantDatabases

pytestmark = pytest.mark.anyio

COMMITS = 40
CASES, SOAK_CASES = 60, 1_000


async def committed(databases: TenantDatabases, tables: ModuleType) -> list[str]:
    """Commit one row after the other, and return their names in that order."""
    names = [f"{number:04}-{'x' * (number * 37 % 400)}" for number in range(COMMITS)]
    for name in names:
        async with databases.transaction("acme") as connection:
            await connection.execute(sa.insert(tables.accounts).values(name=name, balance=0))
    return names


def damage(log: Path, chance: random.Random) -> None:
    """Have a log be as after a crash of the machine: cut, zeroed in the middle, or flipped."""
    raw = bytearray(log.read_bytes())
    place = chance.randrange(len(raw))
    how = chance.choice(("cut", "zeroed", "flipped", "torn"))
    if how == "cut":
        del raw[place:]
    elif how == "zeroed":
        end = min(len(raw), place + chance.randrange(1, 4096))
        raw[place:end] = bytes(end - place)
    elif how == "flipped":
        raw[place] ^= 1 << chance.randrange(8)
    else:  # the last sectors came in another order, and not all of them
        raw[place:] = chance.randbytes(len(raw) - place)
    log.write_bytes(raw)


def sound(path: Path) -> bool:
    """Whether SQLite's own check finds nothing."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


async def tear(sqlite: Any, tables: ModuleType, folder: Path, cases: int) -> None:
    """Damage the log so many times, each time open the file as a service does, and look at what it holds."""
    chance = random.Random(20261126)
    databases = sqlite.open()
    names = await committed(databases, tables)
    place = sqlite.data / "tenants" / "acme"
    crashed = folder / "crashed"
    shutil.copytree(place, crashed)  # while it is open: the rows are in the log, as at a crash
    assert (crashed / "shop.db-wal").stat().st_size > COMMITS * 4096
    kept: set[int] = set()
    for case in range(cases):
        data = folder / f"case-{case}"
        shutil.copytree(sqlite.data / "templates", data / "templates")
        shutil.copytree(crashed, data / "tenants" / "acme", ignore=shutil.ignore_patterns("*-shm"))
        damage(data / "tenants" / "acme" / "shop.db-wal", chance)
        again = TenantDatabases(databases.schema, data=data)
        async with again.reading("acme") as connection:
            found = [row.name for row in await connection.execute(sa.select(tables.accounts).order_by("name"))]
        assert found == names[: len(found)], case
        async with again.transaction("acme") as connection:
            await connection.execute(sa.insert(tables.accounts).values(name="zzz", balance=0))
        await again.aclose()
        assert sound(data / "tenants" / "acme" / "shop.db"), case
        kept.add(len(found))
        shutil.rmtree(data)
    assert len(kept) > COMMITS // 4  # wherever it broke, what was before stood


@pytest.mark.covers("database:torn")
async def test_a_torn_log_leaves_what_was_committed_before(sqlite: Any, tables: ModuleType, tmp_path: Path) -> None:
    await tear(sqlite, tables, tmp_path, CASES)


@pytest.mark.soak
@pytest.mark.covers("database:torn")
async def test_a_thousand_torn_logs(sqlite: Any, tables: ModuleType, tmp_path: Path) -> None:
    await tear(sqlite, tables, tmp_path, SOAK_CASES)
