"""What holds between tenants on either database."""

from __future__ import annotations

from types import ModuleType

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tausestack.database import TenantDatabases
from tausestack.errors import InvalidRequest
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
