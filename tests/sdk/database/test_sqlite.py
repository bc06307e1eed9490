"""What holds on SQLite alone: files."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from tausestack.database import TenantDatabases

pytestmark = pytest.mark.anyio


async def _add(databases: TenantDatabases, tables: ModuleType, tenant: str, name: str = "a") -> None:
    async with databases.transaction(tenant) as connection:
        await connection.execute(sa.insert(tables.accounts).values(name=name, balance=0))


async def _names(databases: TenantDatabases, tables: ModuleType, tenant: str) -> list[str]:
    async with databases.reading(tenant) as connection:
        return [row.name for row in await connection.execute(sa.select(tables.accounts).order_by("name"))]


def _open_files(data: Path) -> set[Path]:
    places = (Path("/proc/self/fd") / number for number in [entry.name for entry in Path("/proc/self/fd").iterdir()])
    targets = {place.readlink() for place in places if place.is_symlink()}
    return {target for target in targets if target.is_relative_to(data) and target.suffix == ".db"}


@pytest.mark.covers("database:a-file-a-tenant")
async def test_each_tenant_has_its_own_file_that_others_cannot_read(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    await _add(databases, tables, "acme")
    await _add(databases, tables, "_system")
    for tenant in ("acme", "_system"):
        path = sqlite.data / "tenants" / tenant / "shop.db"
        assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert b"SQLite format 3" in path.read_bytes()[:16]
    assert [path.name for path in (sqlite.data / "templates").glob("*.db")] == ["shop-r2.db"]
    await databases.delete("acme")
    assert not (sqlite.data / "tenants" / "acme").exists()


@pytest.mark.covers("database:open-files-bounded")
async def test_idle_files_beyond_the_bound_are_closed_and_open_again(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open(max_open=3)
    tenants = [f"t{number}" for number in range(12)]
    held = await databases.begin("held")
    for tenant in tenants:
        await _add(databases, tables, tenant)
        assert len(_open_files(sqlite.data)) <= 4
    await held.execute(sa.insert(tables.accounts).values(name="h", balance=0))
    await held.commit()
    for tenant in tenants:
        await _add(databases, tables, tenant, "b")
        assert await _names(databases, tables, tenant) == ["a", "b"]
    assert await _names(databases, tables, "held") == ["h"]
    await databases.aclose()
    assert not _open_files(sqlite.data)


async def test_many_tenants_at_once_within_a_small_bound(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open(max_open=2)
    async with anyio.create_task_group() as group:
        for number in range(120):
            group.start_soon(_add, databases, tables, f"t{number % 30}", f"n{number}")
    for number in range(30):
        assert len(await _names(databases, tables, f"t{number}")) == 4


async def test_more_writers_than_threads_of_tools_do_not_block_each_other(sqlite: Any, tables: ModuleType) -> None:
    databases = sqlite.open()
    release = anyio.Event()

    async def in_tools_thread() -> None:
        def tool() -> None:
            anyio.from_thread.run(release.wait)

        await anyio.to_thread.run_sync(tool)

    async with anyio.create_task_group() as group:
        for _ in range(int(anyio.to_thread.current_default_thread_limiter().total_tokens)):
            group.start_soon(in_tools_thread)
        await anyio.wait_all_tasks_blocked()
        await _add(databases, tables, "acme")
        release.set()
    assert await _names(databases, tables, "acme") == ["a"]


async def test_a_folder_deleted_or_put_back_from_outside_is_noticed(
    sqlite: Any, tables: ModuleType, tmp_path: Path
) -> None:
    databases = sqlite.open()
    await _add(databases, tables, "acme")
    other = sqlite.open()
    await other.delete("acme")
    assert await _names(databases, tables, "acme") == []
    await _add(databases, tables, "acme", "b")
    await databases.aclose()
    folder = sqlite.data / "tenants" / "acme"
    shutil.copytree(folder, tmp_path / "kept")
    await _add(databases, tables, "acme", "c")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "kept", folder)
    assert await _names(databases, tables, "acme") == ["b"]


@pytest.mark.covers("database:light-import")
async def test_sqlite_needs_neither_alembic_nor_psycopg_once_the_template_is_there(sqlite: Any) -> None:
    printed: list[str] = []
    for _ in range(2):
        with sqlite.work("acme", 1) as worker:
            printed.append(worker.communicate()[0].strip())
    assert printed == ["1 alembic", "2"]
