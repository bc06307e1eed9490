"""What holds between tenants on either database."""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from tausestack.database import Connection, TenantDatabases
from tausestack.errors import InvalidRequest, NotFound
from tausestack.names import SYSTEM_TENANT

pytestmark = pytest.mark.anyio

_NO_TENANTS = ["", "a", "..", "../acme", "a/b", "acme/../globex", "_other", "ACME", "a\0b", "a b", "a..b"]


async def _sell(databases: TenantDatabases, tables: ModuleType, tenant: str) -> None:
    async with databases.transaction(tenant) as connection:
        await connection.execute(sa.insert(tables.accounts).values(name="a", balance=1))
        await connection.execute(sa.insert(tables.orders).values(account="a", reference="r"))


async def _counts(databases: TenantDatabases, tables: ModuleType, tenant: str) -> tuple[int, int]:
    async with databases.reading(tenant) as connection:
        accounts = await connection.execute(sa.select(tables.accounts))
        return len(accounts), len(await connection.execute(sa.select(tables.orders)))


@pytest.mark.covers("database:tenants-apart")
async def test_a_tenant_sees_and_changes_nothing_of_another(databases: TenantDatabases, tables: ModuleType) -> None:
    await _sell(databases, tables, "acme")
    # Names that a prefix or a pattern would confuse.
    for other in ("globex", "acme-corp", "acm", "acme_", SYSTEM_TENANT):
        assert await _counts(databases, tables, other) == (0, 0)
        async with databases.transaction(other) as connection:
            assert await connection.change(sa.update(tables.accounts).values(balance=0)) == 0
            assert await connection.change(sa.delete(tables.orders)) == 0
    assert await _counts(databases, tables, "acme") == (1, 1)


@pytest.mark.covers("database:tenants-apart")
async def test_two_tenants_use_the_same_keys(databases: TenantDatabases, tables: ModuleType) -> None:
    for tenant in ("acme", "globex"):
        await _sell(databases, tables, tenant)
    for tenant in ("acme", "globex"):
        with pytest.raises(IntegrityError):
            await _sell(databases, tables, tenant)
        async with databases.transaction(tenant) as connection:
            with pytest.raises(IntegrityError):
                async with connection.savepoint():
                    await connection.execute(sa.insert(tables.orders).values(account="a", reference="r"))
        assert await _counts(databases, tables, tenant) == (1, 1)


@pytest.mark.covers("database:tenants-apart")
async def test_a_foreign_key_does_not_reach_another_tenant(databases: TenantDatabases, tables: ModuleType) -> None:
    await _sell(databases, tables, "acme")
    with pytest.raises(IntegrityError):
        async with databases.transaction("globex") as connection:
            await connection.execute(sa.insert(tables.orders).values(account="a", reference="r"))
    async with databases.transaction("acme") as connection:
        await connection.change(sa.delete(tables.accounts))
    assert await _counts(databases, tables, "acme") == (0, 0)


@pytest.mark.covers("database:pool-carries-no-tenant")
async def test_a_broken_transaction_leaves_nothing_in_the_pool(databases: TenantDatabases, tables: ModuleType) -> None:
    await _sell(databases, tables, "acme")
    for _ in range(30):
        with pytest.raises(IntegrityError):
            await _sell(databases, tables, "acme")
        assert await _counts(databases, tables, "globex") == (0, 0)
    await _sell(databases, tables, "globex")
    assert await _counts(databases, tables, "globex") == (1, 1)


@pytest.mark.covers("database:delete-is-complete")
async def test_deleting_a_tenant_deletes_it_alone(databases: TenantDatabases, tables: ModuleType) -> None:
    assert not await databases.exists("acme")
    for tenant in ("acme", "globex"):
        await _sell(databases, tables, tenant)
    assert await databases.exists("acme")
    await databases.delete("acme")
    await databases.delete("acme")
    assert not await databases.exists("acme")
    assert await databases.exists("globex")
    assert await _counts(databases, tables, "acme") == (0, 0)
    assert await _counts(databases, tables, "globex") == (1, 1)
    await _sell(databases, tables, "acme")
    assert await _counts(databases, tables, "acme") == (1, 1)


@pytest.mark.covers("database:tenant-names")
@pytest.mark.parametrize("name", _NO_TENANTS)
async def test_a_name_that_is_no_tenant_is_refused(databases: TenantDatabases, name: str) -> None:
    with pytest.raises(InvalidRequest):
        await databases.begin(name)
    with pytest.raises(InvalidRequest):
        await databases.delete(name)
    with pytest.raises(InvalidRequest):
        async with databases.reading(name):
            raise AssertionError


@pytest.mark.covers("database:shut")
async def test_a_tenant_that_is_being_deleted_gets_no_transaction(
    databases: TenantDatabases, tables: ModuleType
) -> None:
    await _sell(databases, tables, "acme")
    databases.shut("acme")
    for ask in (databases.begin("acme"), _counts(databases, tables, "acme"), databases.migrate("acme")):
        with pytest.raises(NotFound) as refused:
            await ask
        assert refused.value.message == "The tenant is being deleted"
    async with databases.reading("acme", even_shut=True) as connection:
        assert len(await connection.execute(sa.select(tables.accounts))) == 1
    assert await databases.exists("acme")
    assert await _counts(databases, tables, "globex") == (0, 0)
    databases.unshut("globex")
    databases.unshut("acme")
    assert await _counts(databases, tables, "acme") == (1, 1)
    for name in _NO_TENANTS:
        with pytest.raises(InvalidRequest):
            databases.shut(name)
        with pytest.raises(InvalidRequest):
            async with databases.reading(name, even_shut=True):
                raise AssertionError


@pytest.mark.covers("database:shut")
async def test_who_waits_while_the_tenant_is_shut_gets_no_turn(databases: TenantDatabases) -> None:
    refused = anyio.Event()

    async def wait() -> None:
        with pytest.raises(NotFound):
            await databases.begin("acme")
        refused.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            first = await databases.begin("acme")
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            databases.shut("acme")
            await first.aclose()
            await refused.wait()
        databases.unshut("acme")
        async with databases.transaction("acme"):
            pass


@pytest.mark.covers("database:shut")
async def test_what_may_hold_something_of_a_tenant_is_known(
    databases: TenantDatabases, tables: ModuleType, place: Any
) -> None:
    assert await databases.may_hold("acme") is (place.url is not None)
    await _sell(databases, tables, "acme")
    assert await databases.may_hold("acme")
    assert await databases.may_hold("globex") is (place.url is not None)
    await databases.settle("acme")
    await databases.settle("globex")
    for name in _NO_TENANTS:
        for ask in (databases.settle, databases.exists, databases.migrate):
            with pytest.raises(InvalidRequest):
                await ask(name)
    if place.url is None:
        log = place.data / "tenants" / "acme" / "shop.db-wal"
        assert not log.exists() or log.stat().st_size == 0
        assert not (place.data / "tenants" / "globex").exists()


@pytest.mark.covers("database:shut")
async def test_migrating_makes_what_a_tenant_has_on_its_first_use(databases: TenantDatabases, place: Any) -> None:
    await databases.migrate("acme")
    assert await databases.exists("acme") is (place.url is None)
    assert not await databases.exists("globex")


@pytest.mark.covers("database:one-trip")
async def test_a_transaction_in_one_trip_is_its_tenants_and_whole(
    databases: TenantDatabases, tables: ModuleType
) -> None:
    async def sell(db: Connection) -> str:
        await db.execute(sa.insert(tables.accounts).values(name="a", balance=1))
        return db.tenant

    async def sell_and_break(db: Connection) -> None:
        await db.execute(sa.insert(tables.accounts).values(name="b", balance=1))
        raise KeyError

    async def where(_: Connection) -> int:
        return threading.get_ident()

    async def look(db: Connection) -> tuple[str, list[str]]:
        return db.tenant, [row.name for row in await db.execute(sa.select(tables.accounts))]

    assert await databases.write("acme", sell) == "acme"
    with pytest.raises(KeyError):
        await databases.write("acme", sell_and_break)
    assert [await databases.read(tenant, look) for tenant in ("acme", "globex")] == [("acme", ["a"]), ("globex", [])]
    with pytest.raises(DBAPIError):
        await databases.read("globex", sell)
    for ask in (databases.write, databases.read):  # one that is not said to be short may take its time
        assert threading.get_ident() not in {await ask("acme", where) for _ in range(3)}
        places = [await ask("acme", where, short=True) for _ in range(2)]
        assert (places[-1] == threading.get_ident()) is databases.in_files
    assert databases.schema.service == "shop"
    assert await databases.read("globex", look) == ("globex", [])
    for name in _NO_TENANTS:
        for ask in (databases.write, databases.read):
            for even_shut in (False, True):
                with pytest.raises(InvalidRequest):
                    await ask(name, look, even_shut=even_shut)


@pytest.mark.covers("database:one-trip", "database:shut")
async def test_a_tenant_that_is_being_deleted_gets_no_transaction_in_one_trip(
    databases: TenantDatabases, tables: ModuleType
) -> None:
    async def count(db: Connection) -> int:
        return len(await db.execute(sa.select(tables.accounts)))

    await _sell(databases, tables, "acme")
    databases.shut("acme")
    for ask in (databases.write, databases.read):
        with pytest.raises(NotFound):
            await ask("acme", count)
        assert await ask("acme", count, even_shut=True) == 1
        assert await ask("globex", count) == 0


@pytest.mark.covers("database:room-given-back")
async def test_room_is_given_back_in_a_turn_of_the_tenants_own(
    databases: TenantDatabases, tables: ModuleType, place: Any
) -> None:
    text = "x" * 200_000
    async with databases.transaction("acme") as db:
        await db.execute(sa.insert(tables.accounts).values(name="a", balance=1, settings=text))
    async with databases.transaction("acme") as db:
        await db.execute(sa.delete(tables.accounts))
    given = anyio.Event()

    async def compact() -> None:
        await databases.compact("acme")
        given.set()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            first = await databases.begin("acme")
            group.start_soon(compact)
            await anyio.wait_all_tasks_blocked()
            assert not given.is_set()
            await databases.compact("globex")
            await first.aclose()
        await _sell(databases, tables, "acme")
    if place.url is None:
        await databases.settle("acme")
        assert (place.data / "tenants" / "acme" / "shop.db").stat().st_size < len(text)
    databases.shut("acme")
    with pytest.raises(NotFound):
        await databases.compact("acme")


@pytest.mark.covers("database:numbers-go-on")
async def test_numbers_go_on_after_one_that_was_brought_along(databases: TenantDatabases, tables: ModuleType) -> None:
    async def sold(tenant: str, reference: str, **values: int) -> int:
        async with databases.transaction(tenant) as db:
            order = {"account": "a", "reference": reference, **values}
            return (await db.execute(sa.insert(tables.orders).values(order).returning(tables.orders.c.id)))[0].id

    for tenant in ("acme", "globex"):
        async with databases.transaction(tenant) as db:
            await db.execute(sa.insert(tables.accounts).values(name="a", balance=1))
    assert await sold("acme", "brought", id=500) == 500
    await databases.count_on("orders", "id", 500)
    first = await sold("acme", "first")
    assert first > 500
    await databases.count_on("orders", "id", 3)
    await databases.count_on("accounts", "name", 7)
    assert await sold("acme", "second") > first
    assert await sold("globex", "first") > 0
