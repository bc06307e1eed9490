"""The tenant in every statement: with the database's wall opened, the application's filter alone keeps rows apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier

from tausestack.database import Schema, TenantDatabases
from tausestack.database.connection import Connection

pytestmark = pytest.mark.anyio

TENANTS = ("acme", "globex", "acm_")

_ODD = """
import sqlalchemy as sa

from tausestack.database.migrations import create_tenant_table

revision = "r3"
down_revision = "r2"


def upgrade():
    create_tenant_table("Order", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("tenants", sa.Text()))
"""
ODD = sa.Table("Order", sa.MetaData(), sa.Column("id", sa.Integer(), primary_key=True), sa.Column("tenants", sa.Text()))
"""A table whose name has to be quoted wherever it stands."""


@pytest.fixture
async def open_walls(
    postgres: Any, tables: ModuleType, revisions: Callable[..., Schema], postgres_server: str
) -> AsyncIterator[TenantDatabases]:
    """Three tenants' rows under the same keys, with no policy that keeps them apart."""
    databases = postgres.open(revisions("r1", "r2", r3=_ODD))
    for balance, tenant in enumerate(TENANTS):
        async with databases.transaction(tenant) as connection:
            for name in ("a", "b"):
                await connection.execute(sa.insert(tables.accounts).values(name=name, balance=balance))
            await connection.execute(sa.insert(tables.orders).values(account="a", reference=tenant))
            await connection.execute(sa.insert(ODD).values(id=1, tenants=tenant))
    owner = psycopg.conninfo.conninfo_to_dict(postgres.url)
    with psycopg.connect(postgres_server, dbname=str(owner["dbname"]), autocommit=True) as superuser:
        for table in ("accounts", "orders", "Order"):
            opened = SQL("ALTER POLICY tenant ON tausestack_shop.{} USING (true) WITH CHECK (true)")
            superuser.execute(opened.format(Identifier(table)))
        yield databases


async def rows(connection: Connection, statement: Any, parameters: Any = None) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await connection.execute(statement, parameters)]


@pytest.mark.covers("database:filter")
async def test_every_shape_of_reading_sees_the_tenants_rows_alone(
    open_walls: TenantDatabases, tables: ModuleType
) -> None:
    accounts, orders = tables.accounts, tables.orders
    other, cte = accounts.alias("o"), sa.select(orders.c.reference).cte("c")
    whose = sa.select(sa.func.max(accounts.c.balance)).scalar_subquery()
    for balance, tenant in enumerate(TENANTS):
        expected: list[tuple[Any, list[tuple[Any, ...]]]] = [
            (sa.select(accounts.c.balance).order_by(accounts.c.name), [(balance,)] * 2),
            (sa.select(sa.func.count()).select_from(accounts), [(2,)]),
            (sa.select(orders.c.reference), [(tenant,)]),
            (sa.select(other.c.balance).where(other.c.name == "a"), [(balance,)]),
            (sa.select(accounts.c.name, other.c.name).join(other, accounts.c.name < other.c.name), [("a", "b")]),
            (sa.select(accounts.c.balance, orders.c.reference).join(orders), [(balance, tenant)]),
            (sa.select(accounts.c.balance).outerjoin(orders).where(orders.c.id.is_(None)), [(balance,)]),
            (sa.select(cte.c.reference), [(tenant,)]),
            (sa.select(whose), [(balance,)]),
            (sa.select(sa.exists().where(orders.c.reference == "globex")), [(tenant == "globex",)]),
            (sa.union_all(sa.select(orders.c.reference), sa.select(ODD.c.tenants)), [(tenant,)] * 2),
            (sa.select(sa.select(accounts.c.balance).subquery("s").c.balance).limit(1), [(balance,)]),
            (
                sa.select(sa.select(other.c.balance, ODD.c.tenants).join(ODD, sa.true()).subquery().c.tenants),
                [(tenant,)] * 2,
            ),
            (sa.select(sa.select(sa.select(ODD.c.tenants).subquery().c.tenants).subquery().c.tenants), [(tenant,)]),
            (sa.select(ODD.c.tenants), [(tenant,)]),
            (sa.select(ODD.alias("Odd").c.tenants), [(tenant,)]),
            (sa.select(sa.literal(1)).select_from(sa.table("accounts")).limit(1), [(1,)]),
        ]
        async with open_walls.reading(tenant) as connection:
            for statement, found in expected:
                assert await rows(connection, statement) == found, str(statement)


@pytest.mark.covers("database:filter")
async def test_changes_reach_the_tenants_rows_alone(open_walls: TenantDatabases, tables: ModuleType) -> None:
    accounts, orders = tables.accounts, tables.orders
    richest = sa.select(sa.func.max(accounts.c.balance)).scalar_subquery()
    async with open_walls.transaction("acme") as connection:
        assert await connection.change(sa.update(accounts).values(balance=7)) == 2
        assert (
            await connection.change(sa.update(accounts).where(accounts.c.name == "a").values(balance=richest + 1)) == 1
        )
        change = sa.update(accounts).where(accounts.c.name == sa.bindparam("which")).values(balance=sa.bindparam("new"))
        await connection.change(change, [{"which": "a", "new": 8}, {"which": "b", "new": 9}])
        returning = sa.update(ODD).values(tenants="x").returning(ODD.c.tenants)
        assert await rows(connection, returning) == [("x",)]
        assert await connection.change(sa.delete(orders).where(orders.c.account.in_(sa.select(accounts.c.name)))) == 1
        assert await connection.change(sa.delete(ODD)) == 1
    for balance, tenant in enumerate(TENANTS[1:], 1):
        async with open_walls.reading(tenant) as connection:
            assert await rows(connection, sa.select(accounts.c.balance)) == [(balance,)] * 2
            assert await rows(connection, sa.select(orders.c.reference)) == [(tenant,)]
            assert await rows(connection, sa.select(ODD.c.tenants)) == [(tenant,)]
    async with open_walls.reading("acme") as connection:
        assert await rows(connection, sa.select(accounts.c.balance).order_by(accounts.c.name)) == [(8,), (9,)]


@pytest.mark.covers("database:filter")
async def test_changes_within_a_query_reach_the_tenants_rows_alone(
    open_walls: TenantDatabases, tables: ModuleType
) -> None:
    accounts = tables.accounts
    async with open_walls.transaction("acme") as connection:
        for change, column in (
            (sa.update(accounts).values(balance=5).returning(accounts.c.balance), "balance"),
            (sa.delete(ODD).returning(ODD.c.tenants), "tenants"),
        ):
            within = change.cte("changed")
            found = await rows(connection, sa.select(within.c[column], within.c[column].label("again")))
            assert found == ([(5, 5)] * 2 if column == "balance" else [("acme", "acme")])
    for balance, tenant in enumerate(TENANTS[1:], 1):
        async with open_walls.reading(tenant) as connection:
            assert await rows(connection, sa.select(accounts.c.balance)) == [(balance,)] * 2
            assert await rows(connection, sa.select(ODD.c.tenants)) == [(tenant,)]


@pytest.mark.covers("database:filter")
async def test_rows_are_inserted_for_the_tenant_alone(open_walls: TenantDatabases, tables: ModuleType) -> None:
    accounts = tables.accounts
    async with open_walls.transaction("acme") as connection:
        await connection.execute(sa.insert(accounts), [{"name": "c", "balance": 1}, {"name": "d", "balance": 1}])
        copied = sa.select(accounts.c.name + "2", accounts.c.balance)
        await connection.execute(sa.insert(accounts).from_select(["name", "balance"], copied))
    async with open_walls.reading("acme") as connection:
        names = await rows(connection, sa.select(accounts.c.name).order_by(accounts.c.name))
        assert [name for (name,) in names] == ["a", "a2", "b", "b2", "c", "c2", "d", "d2"]
    async with open_walls.reading("globex") as connection:
        assert await rows(connection, sa.select(sa.func.count()).select_from(accounts)) == [(2,)]


@pytest.mark.covers("database:filter")
async def test_a_statement_that_was_compiled_for_one_tenant_is_anothers_too(
    open_walls: TenantDatabases, tables: ModuleType
) -> None:
    statement = sa.select(tables.orders.c.reference)
    for tenant in (*TENANTS, *reversed(TENANTS)):
        async with open_walls.reading(tenant) as connection:
            assert await rows(connection, statement) == [(tenant,)]


@pytest.mark.covers("database:set-local")
@pytest.mark.parametrize("end", ["commit", "undo", "error", "broken"])
async def test_nothing_of_a_transaction_is_left_on_a_pooled_connection(
    postgres: Any, tables: ModuleType, end: str
) -> None:
    """A connection goes back to the pool as it came from the server: no tenant, role or path, nothing of a session."""
    seen: list[dict[str, Any]] = []
    settings = (
        "SELECT current_setting('app.tenant', true), current_user, session_user, current_setting('search_path'),"
        " (SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings"
        "  WHERE source = 'session' AND name NOT LIKE 'transaction%'),"
        " (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),"
        " (SELECT count(*) FROM pg_prepared_statements) >= 0, current_setting('transaction_read_only'),"
        " current_setting('transaction_isolation')"
    )

    def look(connection: Any, *_: Any) -> None:
        found = connection.execute(settings).fetchone()
        connection.rollback()
        names = ("tenant", "user", "session_user", "path", "set", "locks", "any", "read_only", "isolation")
        seen.append(dict(zip(names, found, strict=True)))

    for moment in ("connect", "checkin", "checkout"):
        sa.event.listen(sa.pool.Pool, moment, look)
    try:
        databases = postgres.open()
        await databases.migrate("acme")
        seen.clear()
        for tenant in ("acme", "globex"):
            connection = await databases.begin(tenant)
            await connection.execute(sa.insert(tables.accounts).values(name="a", balance=1))
            if end == "commit":
                await connection.commit()
            elif end in {"error", "broken"}:
                with pytest.raises(sa.exc.DBAPIError):
                    await connection.execute(sa.text("SELECT 1/0" if end == "error" else "nonsense"))
            await connection.aclose()
            async with databases.reading(tenant) as connection:
                count = 1 if end == "commit" else 0
                assert await rows(connection, sa.select(sa.func.count()).select_from(tables.accounts)) == [(count,)]
    finally:
        for moment in ("connect", "checkin", "checkout"):
            sa.event.remove(sa.pool.Pool, moment, look)
    assert len(seen) >= 8
    first = {**seen[0], "tenant": None}
    assert first["user"] == first["session_user"] == "owner"
    assert (first["locks"], first["read_only"], first["isolation"]) == (0, "off", "read committed")
    for one in seen:
        assert one["tenant"] in {None, ""}  # '' is what is left of a setting that a transaction had to itself
        assert {**one, "tenant": None} == first
