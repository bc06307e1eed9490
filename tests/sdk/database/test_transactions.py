"""What holds for a transaction on either database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import ModuleType

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from tausestack.database import Connection, TenantDatabases, idempotency

pytestmark = pytest.mark.anyio


async def _balances(databases: TenantDatabases, tables: ModuleType, tenant: str = "acme") -> dict[str, int]:
    async with databases.reading(tenant) as connection:
        rows = await connection.execute(sa.select(tables.accounts.c.name, tables.accounts.c.balance))
    return {row.name: row.balance for row in rows}


async def _open_account(connection: Connection, tables: ModuleType, name: str = "a", balance: int = 0) -> None:
    await connection.execute(sa.insert(tables.accounts).values(name=name, balance=balance))


async def test_what_was_committed_is_read_back(databases: TenantDatabases, tables: ModuleType) -> None:
    async with databases.transaction("acme") as connection:
        values = {"name": "café", "balance": 7, "settings": {"á": [1, None]}}
        assert await connection.change(sa.insert(tables.accounts), [values]) == 1
    async with databases.reading("acme") as connection:
        row = await connection.one(sa.select(tables.accounts))
        assert row is not None
        assert row._asdict() == {**values, "closed": False}
        assert await connection.one(sa.select(tables.accounts).where(tables.accounts.c.name == "x")) is None
        assert await connection.scalar(sa.select(sa.func.count()).select_from(tables.accounts)) == 1


@pytest.mark.covers("database:all-or-nothing")
async def test_an_error_undoes_the_whole_transaction(databases: TenantDatabases, tables: ModuleType) -> None:
    async def fail() -> None:
        async with databases.transaction("acme") as connection:
            await _open_account(connection, tables)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await _balances(databases, tables) == {}


@pytest.mark.covers("database:all-or-nothing")
async def test_cancellation_undoes_the_whole_transaction(databases: TenantDatabases, tables: ModuleType) -> None:
    with anyio.CancelScope() as scope:
        async with databases.transaction("acme") as connection:
            await _open_account(connection, tables)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert await _balances(databases, tables) == {}


@pytest.mark.covers("database:no-lost-updates")
async def test_600_concurrent_increments_end_at_600(databases: TenantDatabases, tables: ModuleType) -> None:
    async with databases.transaction("acme") as connection:
        await _open_account(connection, tables)

    async def increment() -> None:
        async with databases.transaction("acme") as connection:
            balance = await connection.scalar(sa.select(tables.accounts.c.balance))
            await connection.change(sa.update(tables.accounts).values(balance=balance + 1))

    async with anyio.create_task_group() as group:
        for _ in range(600):
            group.start_soon(increment)
    assert await _balances(databases, tables) == {"a": 600}


async def test_statements_of_several_tasks_take_turns(databases: TenantDatabases, tables: ModuleType) -> None:
    async with databases.transaction("acme") as connection, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(_open_account, connection, tables, f"a{number}")
    assert len(await _balances(databases, tables)) == 20


@pytest.mark.covers("database:reading-cannot-write")
async def test_a_reading_transaction_cannot_write(databases: TenantDatabases, tables: ModuleType) -> None:
    with pytest.raises(DBAPIError):
        async with databases.reading("acme") as connection:
            await _open_account(connection, tables)
    async with databases.transaction("acme") as connection:
        await _open_account(connection, tables)  # what was set for reading is gone from the pooled connection
    assert await _balances(databases, tables) == {"a": 0}


async def test_a_reading_transaction_is_one_snapshot(databases: TenantDatabases, tables: ModuleType) -> None:
    count = sa.select(sa.func.count()).select_from(tables.accounts)
    async with databases.reading("acme") as reading:
        assert await reading.scalar(count) == 0
        async with databases.transaction("acme") as writing:
            await _open_account(writing, tables)
        assert await reading.scalar(count) == 0
    assert await _balances(databases, tables) == {"a": 0}


async def test_a_savepoint_undoes_only_what_is_within(databases: TenantDatabases, tables: ModuleType) -> None:
    async def open_b_and_a_again(connection: Connection) -> None:
        async with connection.savepoint():
            await _open_account(connection, tables, "b")
            async with connection.savepoint():
                await _open_account(connection, tables)

    async with databases.transaction("acme") as connection:
        await _open_account(connection, tables)
        with pytest.raises(IntegrityError):
            await open_b_and_a_again(connection)
        async with connection.savepoint():
            await _open_account(connection, tables, "c")
    assert await _balances(databases, tables) == {"a": 0, "c": 0}


async def test_a_begun_transaction_may_end_in_another_task(databases: TenantDatabases, tables: ModuleType) -> None:
    connection = await databases.begin("acme")
    await _open_account(connection, tables)
    async with anyio.create_task_group() as group:
        group.start_soon(connection.commit)
    await connection.aclose()
    with pytest.raises(RuntimeError, match="has ended"):
        await _open_account(connection, tables, "b")
    with pytest.raises(RuntimeError, match="has ended"):
        await connection.commit()
    undone = await databases.begin("acme")
    await _open_account(undone, tables, "c")
    await undone.aclose()
    assert await _balances(databases, tables) == {"a": 0}


async def test_a_task_does_not_wait_for_itself(databases: TenantDatabases, tables: ModuleType) -> None:
    async with databases.transaction("acme") as connection:
        with pytest.raises(RuntimeError, match="join that transaction"):
            await databases.begin("acme")
        async with databases.transaction("globex") as other:
            await _open_account(other, tables)
        await _open_account(connection, tables)
    assert await _balances(databases, tables) == {"a": 0}


async def test_a_cancelled_writer_does_not_keep_its_turn(databases: TenantDatabases, tables: ModuleType) -> None:
    async with databases.transaction("acme") as connection:
        async with anyio.create_task_group() as group:
            group.start_soon(databases.begin, "acme")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        await _open_account(connection, tables)
    async with databases.transaction("acme") as connection:
        await _open_account(connection, tables, "b")
    assert len(await _balances(databases, tables)) == 2


@pytest.mark.covers("database:key-with-effect")
async def test_a_key_is_kept_with_the_effect_or_not_at_all(databases: TenantDatabases, tables: ModuleType) -> None:
    async def remember_and_fail() -> None:
        async with databases.transaction("acme") as connection:
            await idempotency.remember(connection, "pay", "k", "digest", {"paid": True})
            raise LookupError

    with pytest.raises(LookupError):
        await remember_and_fail()
    async with databases.transaction("acme") as connection:
        assert await idempotency.find(connection, "pay", "k") is None
        await idempotency.remember(connection, "pay", "k", "digest", {"paid": True})
        await idempotency.remember(connection, "pay", "none", "digest", None)
    async with databases.reading("acme") as connection:
        assert await idempotency.find(connection, "pay", "k") == ("digest", {"paid": True})
        assert await idempotency.find(connection, "pay", "none") == ("digest", None)
        assert await idempotency.find(connection, "refund", "k") is None
    with pytest.raises(IntegrityError):
        async with databases.transaction("acme") as connection:
            await idempotency.remember(connection, "pay", "k", "digest", {})
    async with databases.reading("globex") as connection:
        assert await idempotency.find(connection, "pay", "k") is None
    async with databases.transaction("acme") as connection:
        assert await idempotency.forget(connection, datetime.now(UTC) - timedelta(days=1)) == 0
        assert await idempotency.forget(connection, datetime.now(UTC) + timedelta(days=1)) == 2


@pytest.mark.covers("database:one-trip")
async def test_a_transaction_in_one_trip_is_kept_whole_or_undone_whole(
    databases: TenantDatabases, tables: ModuleType
) -> None:
    async def opened(connection: Connection) -> int:
        await _open_account(connection, tables, "a", 7)
        return await connection.scalar(sa.select(tables.accounts.c.balance))

    async def failing(connection: Connection) -> None:
        await _open_account(connection, tables, "b")
        raise LookupError

    async def waiting(connection: Connection) -> None:
        await _open_account(connection, tables, "c")
        await asyncio.sleep(0)

    assert await databases.write("acme", opened) == 7
    with pytest.raises(LookupError):
        await databases.write("acme", failing)
    with pytest.raises(RuntimeError, match="awaits nothing"):
        await databases.write("acme", waiting)
    with pytest.raises(DBAPIError):
        await databases.read("acme", lambda connection: _open_account(connection, tables, "d"))
    assert (
        await databases.read(
            "acme", lambda connection: connection.scalar(sa.select(sa.func.count(tables.accounts.c.name)))
        )
        == 1
    )
    assert await _balances(databases, tables) == {"a": 7}
    assert await _balances(databases, tables, "globex") == {}


@pytest.mark.covers("database:one-trip")
async def test_writers_in_one_trip_take_turns_with_the_others(databases: TenantDatabases, tables: ModuleType) -> None:
    async with databases.transaction("acme") as connection:
        await _open_account(connection, tables)

    async def add(connection: Connection) -> None:
        balance = await connection.scalar(sa.select(tables.accounts.c.balance))
        await connection.execute(sa.update(tables.accounts).values(balance=balance + 1))

    async def adding() -> None:
        await databases.write("acme", add)
        async with databases.transaction("acme") as connection:
            await add(connection)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(adding)
    assert await _balances(databases, tables) == {"a": 20}
