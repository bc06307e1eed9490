"""What holds on PostgreSQL alone: the wall of row-level security."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tausestack.database import Schema, TenantDatabases
from tausestack.errors import Unavailable

pytestmark = pytest.mark.anyio

_BARE_TABLE = """
import sqlalchemy as sa
from alembic import op

revision = "r3"
down_revision = "r2"


def upgrade():
    op.create_table("bare", sa.Column("id", sa.Integer(), primary_key=True))
"""
_INSERT = "INSERT INTO tausestack_shop.accounts (name, balance) VALUES ('x', 1)"


@pytest.fixture
async def owner(postgres: Any, tables: ModuleType) -> Any:
    """The owner's own connection to a database with a row of acme's."""
    async with postgres.open().transaction("acme") as connection:
        await connection.execute(sa.insert(tables.accounts).values(name="a", balance=1))
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        yield connection


@pytest.mark.covers("database:no-tenant-no-rows")
async def test_without_a_tenant_nothing_is_inserted_and_nothing_seen(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET ROLE tausestack_tenant")
    for _ in range(2):
        with pytest.raises(psycopg.Error):
            owner.execute(_INSERT)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            owner.execute(_INSERT.replace("(name,", "(tenant, name,").replace("('x'", "('', 'x'"))
        assert owner.execute("SELECT * FROM tausestack_shop.accounts").fetchall() == []
        # After a transaction's own setting ends it reads as '' and no longer as NULL.
        with owner.transaction():
            owner.execute("SELECT set_config('app.tenant', 'acme', true)")
            assert len(owner.execute("SELECT * FROM tausestack_shop.accounts").fetchall()) == 1


@pytest.mark.covers("database:no-tenant-no-rows")
async def test_a_tenant_cannot_write_a_row_of_another(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SET ROLE tausestack_tenant")
    with owner.transaction():
        owner.execute("SELECT set_config('app.tenant', 'globex', true)")
        for statement in (
            "INSERT INTO tausestack_shop.accounts (tenant, name, balance) VALUES ('acme', 'x', 1)",
            "SELECT * FROM tausestack_shop.alembic_version",
            "ALTER TABLE tausestack_shop.accounts DISABLE ROW LEVEL SECURITY",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), owner.transaction():
                owner.execute(statement)
        owner.execute(_INSERT)
        with pytest.raises(psycopg.errors.InsufficientPrivilege), owner.transaction():
            owner.execute("UPDATE tausestack_shop.accounts SET tenant = 'acme'")


@pytest.mark.covers("database:no-tenant-no-rows")
async def test_the_owner_is_bound_by_the_policy_too(owner: psycopg.Connection[Any]) -> None:
    assert owner.execute("SELECT * FROM tausestack_shop.accounts").fetchall() == []
    with pytest.raises(psycopg.Error):
        owner.execute(_INSERT)
    role = owner.execute(
        "SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = 'tausestack_tenant'"
    ).fetchone()
    assert role == (False, False, False)


@pytest.mark.covers("database:no-table-without-wall")
async def test_a_table_without_the_policy_stops_the_service(postgres: Any, revisions: Callable[..., Schema]) -> None:
    databases: TenantDatabases = postgres.open(revisions("r1", "r2", r3=_BARE_TABLE))
    with pytest.raises(RuntimeError, match="no row-level security on bare"):
        await databases.begin("acme")


async def test_a_connection_cut_while_it_lay_in_the_pool_costs_no_error(
    postgres: Any, tables: ModuleType, postgres_server: str
) -> None:
    databases = postgres.open()
    async with databases.transaction("acme") as connection:
        await connection.execute(sa.insert(tables.accounts).values(name="a", balance=1))
        database = await connection.scalar(sa.select(sa.func.current_database()))
    with psycopg.connect(postgres_server, autocommit=True) as superuser:
        cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        assert superuser.execute(cut, [database]).fetchall() == [(True,)]
    async with databases.reading("acme") as connection:
        assert await connection.scalar(sa.select(tables.accounts.c.balance)) == 1


async def test_a_server_that_is_not_there_is_unavailable(postgres: Any, tmp_path: Any) -> None:
    postgres.url = f"postgresql://owner@/nowhere?host={tmp_path}"
    with pytest.raises(Unavailable):
        await postgres.open().begin("acme")


async def test_another_kind_of_url_is_refused(postgres: Any) -> None:
    postgres.url = "mysql://somewhere/else"
    with pytest.raises(ValueError, match="PostgreSQL"):
        postgres.open()
