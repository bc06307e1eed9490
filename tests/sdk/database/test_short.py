"""Short transactions: done in the event loop's own thread on SQLite, which never waits there."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from tausestack.database import Connection, TenantDatabases

pytestmark = pytest.mark.anyio

LONGEST = 4 * 1024 * 1024 + 512 * 1024
"""Bytes that a log may have: a thousand pages, and one transaction more."""
HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
held.execute("COMMIT")
"""


@contextmanager
def _locked(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold a file's lock until it is sent a line."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.communicate("\n")


async def _add(databases: TenantDatabases, tables: ModuleType, tenant: str, name: str, settings: Any = None) -> int:
    """Add an account in a short transaction, and return which thread that was done in."""

    async def work(connection: Connection) -> int:
        await connection.execute(sa.insert(tables.accounts).values(name=name, balance=0, settings=settings))
        return threading.get_ident()

    return await databases.write(tenant, work, short=True)


async def _names(databases: TenantDatabases, tables: ModuleType, tenant: str) -> list[str]:
    async def work(connection: Connection) -> list[str]:
        return [row.name for row in await connection.execute(sa.select(tables.accounts.c.name).order_by("name"))]

    return await databases.read(tenant, work, short=True)


def _log(sqlite: Any, tenant: str) -> int:
    return (sqlite.data / "tenants" / tenant / "shop.db-wal").stat().st_size


@pytest.mark.covers("database:short")
async def test_a_short_transaction_is_kept_whole_or_undone_whole(
    databases: TenantDatabases, tables: ModuleType
) -> None:
    async def failing(connection: Connection) -> None:
        await connection.execute(sa.insert(tables.accounts).values(name="b", balance=0))
        raise LookupError

    async def waiting(connection: Connection) -> None:
        await connection.execute(sa.insert(tables.accounts).values(name="c", balance=0))
        await asyncio.sleep(0)

    async def writing(connection: Connection) -> None:
        await connection.execute(sa.insert(tables.accounts).values(name="d", balance=0))

    for round_ in range(3):  # on SQLite the first goes to a thread, and the others do not
        await _add(databases, tables, "acme", f"a{round_}")
        with pytest.raises(LookupError):
            await databases.write("acme", failing, short=True)
        with pytest.raises(RuntimeError, match="awaits nothing"):
            await databases.write("acme", waiting, short=True)
        with pytest.raises(DBAPIError):
            await databases.read("acme", writing, short=True)
        assert await _names(databases, tables, "acme") == [f"a{each}" for each in range(round_ + 1)]
    assert await _names(databases, tables, "globex") == []


@pytest.mark.covers("database:short")
async def test_a_cancelled_task_does_no_short_transaction(databases: TenantDatabases, tables: ModuleType) -> None:
    for name in ("a", "b"):
        await _add(databases, tables, "acme", name)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await _add(databases, tables, "acme", "c")
    assert scope.cancelled_caught
    assert await _names(databases, tables, "acme") == ["a", "b"]


@pytest.mark.covers("database:short")
async def test_a_commit_that_fails_leaves_nothing_behind(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()

    async def work(connection: Connection) -> None:
        await connection.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
        await connection.execute(sa.insert(tables.orders).values(account="nobody", reference="r"))

    for name in ("a", "b"):
        await _add(databases, tables, "acme", name)
        with pytest.raises(IntegrityError):
            await databases.write("acme", work, short=True)
    assert await _add(databases, tables, "acme", "c") == threading.get_ident()
    count = sa.select(sa.func.count()).select_from(tables.orders)
    assert await databases.read("acme", lambda connection: connection.scalar(count), short=True) == 0


@pytest.mark.covers("database:short")
async def test_who_does_one_after_the_other_keeps_nobody_from_the_loop(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    await _add(databases, tables, "acme", "a")
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(turning)
        for _ in range(400):
            await _names(databases, tables, "acme")
        group.cancel_scope.cancel()
    assert turns >= 40


@pytest.mark.covers("database:short-never-waits")
async def test_a_file_that_another_process_has_locked_is_waited_for_in_a_thread(
    sqlite: Any, tables: ModuleType
) -> None:
    databases = sqlite.open()
    for name in ("a", "b"):
        await _add(databases, tables, "acme", name)
    done: list[int] = []

    async def adding() -> None:
        done.append(await _add(databases, tables, "acme", "c"))

    with _locked(sqlite.data / "tenants" / "acme" / "shop.db") as holder:
        async with anyio.create_task_group() as group:
            group.start_soon(adding)
            # The lock is given up by this very loop: were it held meanwhile, the writer would give up first.
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
                assert await _names(databases, tables, "acme") == ["a", "b"]
            assert holder.stdin is not None
            assert not done
            holder.stdin.write("\n")
            holder.stdin.flush()
    assert done != [threading.get_ident()]
    assert await _add(databases, tables, "acme", "d") == threading.get_ident()
    assert await _names(databases, tables, "acme") == ["a", "b", "c", "d"]


@pytest.mark.covers("database:short-never-waits")
async def test_what_waits_for_the_disk_is_done_in_a_thread(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    here = threading.get_ident()
    assert await _add(databases, tables, "acme", "first") != here  # the file is opened, and its log begun
    assert await _add(databases, tables, "acme", "second") == here
    await databases.settle("acme")
    assert _log(sqlite, "acme") == 0
    assert await _add(databases, tables, "acme", "third") != here
    assert await _add(databases, tables, "acme", "fourth") == here
    # A commit that writes nothing begins no log.
    await databases.settle("acme")
    nothing = sa.update(tables.accounts).where(tables.accounts.c.name == "nobody").values(balance=1)
    assert await databases.write("acme", lambda connection: connection.change(nothing), short=True) == 0
    assert await _add(databases, tables, "acme", "fifth") != here


@pytest.mark.covers("database:log-bounded")
async def test_the_log_of_a_busy_tenant_stays_short(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    here, threads, longest = threading.get_ident(), list[int](), 0
    for number in range(1200):
        threads.append(await _add(databases, tables, "acme", f"{number:05}", "x" * 12_000))
        longest = max(longest, _log(sqlite, "acme"))
    file = sqlite.data / "tenants" / "acme" / "shop.db"
    assert longest <= LONGEST < 1200 * 12_000 < file.stat().st_size + longest
    assert threads.count(here) > 1150
    # A reader that needs it keeps the log long, for as long as it reads and no longer.
    async with databases.reading("acme") as reader:
        await reader.scalar(sa.select(sa.func.count()).select_from(tables.accounts))
        for number in range(800):
            await _add(databases, tables, "acme", f"r{number:05}", "x" * 12_000)
        assert _log(sqlite, "acme") > LONGEST
    for name in ("s", "t"):
        await _add(databases, tables, "acme", name)
    assert _log(sqlite, "acme") <= LONGEST
    assert len(await _names(databases, tables, "acme")) == 2002
    await databases.aclose()
    assert not list(file.parent.glob("*-wal"))


@pytest.mark.covers("database:log-bounded")
async def test_the_log_of_long_transactions_stays_short_too(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    longest = 0
    for number in range(12):
        rows = [{"name": f"{number}-{each}", "balance": 0, "settings": "x" * 12_000} for each in range(150)]
        async with databases.transaction("acme") as connection:
            await connection.change(sa.insert(tables.accounts), rows)
        longest = max(longest, _log(sqlite, "acme"))
    assert longest <= LONGEST + 150 * 16_000


@pytest.mark.covers("database:open-files-bounded")
async def test_files_of_short_transactions_are_closed_beyond_the_bound_and_open_again(
    sqlite: Any, tables: ModuleType
) -> None:
    databases = sqlite.open(max_open=3)
    tenants = [f"t{number}" for number in range(9)]
    for name in ("a", "b", "c"):
        for tenant in tenants:
            await _add(databases, tables, tenant, name)
            assert len(_open_logs(sqlite.data)) <= 3 + 1
    for tenant in tenants:
        assert await _names(databases, tables, tenant) == ["a", "b", "c"]
    await databases.aclose()
    assert not _open_logs(sqlite.data)


@pytest.mark.covers("database:short")
async def test_a_file_deleted_or_put_back_meanwhile_is_noticed(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    for name in ("a", "b"):
        await _add(databases, tables, "acme", name)
    await databases.delete("acme")
    assert await _names(databases, tables, "acme") == []
    for name in ("c", "d"):
        await _add(databases, tables, "acme", name)
    await sqlite.open().delete("acme")  # from outside
    await _add(databases, tables, "acme", "e")
    assert await _names(databases, tables, "acme") == ["e"]


@pytest.mark.covers("database:short")
async def test_deleting_among_short_transactions_leaves_what_came_after_it(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open(max_open=1)
    begun, added = 0, list[tuple[int, str]]()

    async def adding(who: int) -> None:
        for number in range(60):
            name = f"{who}-{number}"
            await _add(databases, tables, "acme", name)
            added.append((begun, name))
            await _names(databases, tables, "globex")

    async def deleting() -> None:
        nonlocal begun
        for _ in range(10):
            await databases.delete("acme")
            begun += 1
            for _ in range(20):
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        for who in range(4):
            group.start_soon(adding, who)
        group.start_soon(deleting)
    left = set(await _names(databases, tables, "acme"))
    assert left >= {name for after, name in added if after == begun}
    assert left <= {name for _, name in added}


def _open_logs(data: Path) -> set[Path]:
    places = (Path("/proc/self/fd") / number for number in [entry.name for entry in Path("/proc/self/fd").iterdir()])
    targets = {place.readlink() for place in places if place.is_symlink()}
    return {target for target in targets if target.is_relative_to(data) and target.name.endswith(".db-wal")}
