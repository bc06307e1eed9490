"""What holds on PostgreSQL alone: the wall of row-level security."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import psycopg
import pytest
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier
from sqlalchemy.exc import ProgrammingError

from tausestack.database import Schema, TenantDatabases
from tausestack.database import postgres as postgres_tables
from tausestack.database.postgres import prepared
from tausestack.errors import InvalidRequest, Unavailable

pytestmark = pytest.mark.anyio

UNREACHABLE = "the database can't be reached: nothing was done, try again"
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
        superuser.execute(cut, [database])
        async with databases.transaction("acme") as connection:
            assert connection.tenant == "acme"
            assert await connection.change(sa.insert(tables.accounts).values(name="b", balance=1)) == 1
            assert await connection.change(sa.update(tables.accounts).values(balance=2)) == 2


async def test_a_server_that_is_not_there_is_unavailable(postgres: Any, tmp_path: Any) -> None:
    postgres.url = f"postgresql://owner@/nowhere?host={tmp_path}"
    with pytest.raises(Unavailable) as away:
        await postgres.open().begin("acme")
    assert away.value.message == UNREACHABLE


async def test_another_kind_of_url_is_refused(postgres: Any) -> None:
    postgres.url = "mysql://somewhere/else"
    with pytest.raises(ValueError, match="PostgreSQL"):
        postgres.open()


@pytest.mark.covers("database:no-nul")
async def test_text_that_the_database_cannot_hold_is_refused_as_the_callers(postgres: Any, tables: ModuleType) -> None:
    databases = postgres.open()
    for statement in (
        sa.insert(tables.accounts).values(name="a\0b", balance=1),
        sa.select(tables.accounts).where(tables.accounts.c.name == "a\0b"),
    ):
        async with databases.transaction("acme") as connection:
            with pytest.raises(InvalidRequest, match="U\\+0000"):
                await connection.execute(statement)
            with pytest.raises(sa.exc.DataError):
                await connection.execute(sa.text("SELECT CAST('x' AS integer)"))
        with pytest.raises(InvalidRequest, match="U\\+0000"):
            await databases.write("acme", lambda connection, asked=statement: connection.execute(asked))


@pytest.mark.covers("database:prepared")
def test_tables_are_made_before_any_tenant_comes(schema: Schema, postgres_url: str, tmp_path: Any) -> None:
    prepared(schema, postgres_url, tmp_path)
    prepared(schema, postgres_url, tmp_path)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT version_num FROM tausestack_shop.alembic_version").fetchall()
    assert found == [(schema.head,)]
    with pytest.raises(Unavailable) as away:
        prepared(schema, f"postgresql://owner@/nowhere?host={tmp_path}", tmp_path)
    assert away.value.message == UNREACHABLE


@pytest.mark.covers("database:busy")
async def test_looking_waits_for_no_writer(postgres: Any, tables: ModuleType) -> None:
    one, other = postgres.open(), postgres.open()
    async with one.transaction("acme") as connection:
        await connection.execute(sa.insert(tables.accounts).values(name="a", balance=1))
        with anyio.fail_after(20):
            assert not await other.exists("acme")
            async with other.reading("acme") as reading:
                assert await reading.scalar(sa.select(sa.func.count()).select_from(tables.accounts)) == 0
    assert await other.exists("acme")


@pytest.mark.covers("database:busy")
async def test_writers_of_a_tenant_wait_for_each_other_across_processes(postgres: Any) -> None:
    locks = sa.text(
        "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
        " AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(:turn, 0)"
    )
    databases = postgres.open()
    for tenant in ("acme", "globex"):
        async with databases.transaction(tenant) as connection:
            for name, held in (("acme", tenant == "acme"), ("globex", tenant == "globex")):
                assert bool(await connection.scalar(locks, {"turn": f"tausestack_shop/{name}"})) is held
        async with databases.reading(tenant) as connection:
            assert await connection.scalar(locks, {"turn": f"tausestack_shop/{tenant}"}) == 0


@pytest.mark.covers("database:busy")
async def test_whoever_finds_every_connection_busy_is_told_so_after_a_while(
    postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_CONNECTIONS", 2), ("_KEPT", 1), ("_WAIT_SECONDS", 0.05)):
        monkeypatch.setattr(postgres_tables, name, value)
    databases = postgres.open()
    for _ in range(2):
        begun = [await databases.begin(tenant) for tenant in ("acme", "globex")]
        for _ in range(2):
            with pytest.raises(Unavailable) as busy:
                await databases.begin("other")
            assert busy.value.message == "every connection to the database is busy: nothing was done, try again"
        for one in begun:
            await one.aclose()
    async with databases.transaction("other"), databases.reading("acme"):
        pass


@pytest.mark.covers("database:busy")
async def test_a_database_that_cannot_be_reached_costs_no_place(
    postgres: Any, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tables, "_CONNECTIONS", 2)
    monkeypatch.setattr(postgres_tables, "_WAIT_SECONDS", 0.05)
    databases = postgres.open()
    await databases.migrate("acme")
    name = psycopg.conninfo.conninfo_to_dict(postgres.url)["dbname"]
    with psycopg.connect(postgres_server, autocommit=True) as superuser:
        for statement in ("ALTER DATABASE {} ALLOW_CONNECTIONS false", "ALTER DATABASE {} ALLOW_CONNECTIONS true"):
            superuser.execute(SQL(statement).format(Identifier(str(name))))
            superuser.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
            if statement.endswith("false"):
                for _ in range(5):
                    with pytest.raises(Unavailable) as away:
                        await databases.begin("acme")
                    assert away.value.message == UNREACHABLE
    async with databases.transaction("acme"), databases.reading("acme"):
        pass


@pytest.mark.covers("database:busy")
async def test_reading_is_one_snapshot_and_writes_nothing(postgres: Any, tables: ModuleType) -> None:
    databases = postgres.open()
    count = sa.select(sa.func.count()).select_from(tables.accounts)
    async with databases.reading("acme") as reading:
        assert await reading.scalar(count) == 0
        async with databases.transaction("acme") as connection:
            await connection.execute(sa.insert(tables.accounts).values(name="secret-name", balance=1))
        assert await reading.scalar(count) == 0
        with pytest.raises(sa.exc.DBAPIError, match="read-only"):
            await reading.execute(sa.insert(tables.accounts).values(name="b", balance=1))
    async with databases.transaction("acme") as connection:
        with pytest.raises(sa.exc.IntegrityError) as error:
            await connection.execute(sa.insert(tables.accounts).values(name="secret-name", balance=1))
    assert "[SQL parameters hidden" in str(error.value)


@pytest.mark.covers("database:busy")
async def test_what_is_closed_leaves_no_connection_open(postgres: Any, postgres_server: str) -> None:
    databases = postgres.open()
    async with databases.transaction("acme"):
        pass
    name = psycopg.conninfo.conninfo_to_dict(postgres.url)["dbname"]
    with psycopg.connect(postgres_server, autocommit=True) as superuser:
        open_now = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        assert superuser.execute(open_now, [name]).fetchone() == (1,)
        await databases.aclose()
        with anyio.fail_after(20):
            while superuser.execute(open_now, [name]).fetchone() != (0,):
                await anyio.lowlevel.checkpoint()


@pytest.mark.covers("database:idle-ends")
async def test_a_transaction_lies_idle_for_as_long_as_its_service_says(postgres: Any, schema: Schema) -> None:
    asked = sa.text("SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
    for seconds, milliseconds in ((0, "0"), (1.5, "1500"), (40, "40000")):
        async with postgres.open(replace(schema, idle_seconds=seconds)).reading("acme") as db:
            assert await db.scalar(asked) == milliseconds


@pytest.mark.covers("database:numbers-go-on")
async def test_having_numbers_go_on_leaves_no_connection_and_tells_no_number(postgres: Any) -> None:
    databases = postgres.open()
    await databases.migrate("acme")
    with psycopg.connect(postgres.url, autocommit=True) as owner:

        def others() -> int:
            row = owner.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
            ).fetchone()
            assert row is not None
            return int(row[0])

        gc.disable()
        try:
            before = others()
            await databases.count_on("orders", "id", 20)
            with anyio.fail_after(30):
                while others() > before:
                    await anyio.lowlevel.checkpoint()
        finally:
            gc.enable()
    with pytest.raises(ProgrammingError) as refused:
        await databases.count_on("nothing", "id", 987654)
    assert "987654" not in str(refused.value)
