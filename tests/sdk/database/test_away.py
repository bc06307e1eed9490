"""A database that is full, lost or locked is said to be away; a wrong statement is not."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tausestack.database import TenantDatabases
from tausestack.errors import InDoubt, Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.covers("database:away")]

BIG = "x" * 100_000
_SESSION = sa.text("SELECT pg_backend_pid()")


async def done(databases: TenantDatabases, work: Any, way: str) -> None:
    """Do some work of acme's in one trip, in the event loop, or statement by statement."""
    if way == "statements":
        async with databases.transaction("acme") as db:
            await work(db)
    else:
        await databases.write("acme", work, short=way == "short")


@pytest.mark.parametrize("way", ["trip", "short", "statements"])
async def test_a_full_disk_undoes_the_transaction_and_is_told_as_such(
    sqlite: Any, tables: ModuleType, way: str
) -> None:
    databases = sqlite.open()

    async def fill(db: Any) -> None:
        await db.execute(sa.text("PRAGMA max_page_count = 30"))
        await db.execute(sa.insert(tables.accounts).values(name=BIG, balance=1))
        await db.execute(sa.insert(tables.accounts).values(name=BIG + "2", balance=1))

    await databases.migrate("acme")
    with pytest.raises(Unavailable, match="disk is full") as full:
        await done(databases, fill, way)
    assert full.value.data == {"away": "database"}
    await databases.aclose()
    databases = sqlite.open()
    async with databases.transaction("acme") as db:
        assert await db.scalar(sa.select(sa.func.count()).select_from(tables.accounts)) == 0
        await db.execute(sa.insert(tables.accounts).values(name="after", balance=1))


@pytest.mark.parametrize("way", ["trip", "short", "statements"])
async def test_a_wrong_statement_is_a_defect_on_both(databases: TenantDatabases, way: str) -> None:
    await databases.migrate("acme")
    with pytest.raises(DBAPIError):
        await done(databases, lambda db: db.execute(sa.text("SELECT nothing FROM nowhere")), way)


def lose(postgres_server: str, pid: int) -> None:
    """End the session of a transaction, as a server that dies does."""
    with psycopg.connect(postgres_server, autocommit=True) as superuser:
        assert superuser.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchall() == [(True,)]


@pytest.mark.parametrize("way", ["trip", "statements"])
async def test_a_session_that_ends_in_the_middle_undoes_it_all(
    postgres: Any, tables: ModuleType, postgres_server: str, way: str
) -> None:
    databases = postgres.open()

    async def work(db: Any) -> None:
        await db.execute(sa.insert(tables.accounts).values(name="a", balance=1))
        lose(postgres_server, await db.scalar(_SESSION))
        await db.execute(sa.insert(tables.accounts).values(name="b", balance=1))

    with pytest.raises(Unavailable) as away:
        await done(databases, work, way)
    assert away.value.data == {"away": "database"}
    async with databases.reading("acme") as db:
        assert await db.scalar(sa.select(sa.func.count()).select_from(tables.accounts)) == 0


@pytest.mark.parametrize("way", ["trip", "statements"])
async def test_a_commit_that_is_not_answered_is_in_doubt(
    postgres: Any, tables: ModuleType, postgres_server: str, way: str
) -> None:
    databases = postgres.open()

    async def work(db: Any) -> None:
        await db.execute(sa.insert(tables.accounts).values(name="a", balance=1))
        lose(postgres_server, await db.scalar(_SESSION))

    with pytest.raises(InDoubt) as doubt:
        await done(databases, work, way)
    assert doubt.value.data == {"away": "database"}


async def test_a_file_that_another_has_locked_is_told_of(sqlite: Any) -> None:
    databases = sqlite.open()
    await databases.migrate("acme")
    locked = sa.create_engine(f"sqlite:///{sqlite.data}/tenants/acme/shop.db")
    with locked.connect() as other:
        other.exec_driver_sql("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="busy") as busy:
            await databases.begin("acme")
    locked.dispose()
    assert busy.value.data == {"away": "database"}
