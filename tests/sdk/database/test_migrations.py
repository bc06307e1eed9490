"""What holds for revisions on either database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from tausestack.database import Schema
from tausestack.errors import Unavailable

pytestmark = pytest.mark.anyio

_BREAKS = """
import sqlalchemy as sa
from tausestack.database.migrations import create_tenant_table

revision = "r3"
down_revision = "r2"


def upgrade():
    create_tenant_table("extras", sa.Column("id", sa.Integer(), primary_key=True))
    raise ArithmeticError("in mid-revision")
"""


async def _balance(databases: Any, tables: ModuleType) -> int:
    async with databases.reading("acme") as connection:
        return await connection.scalar(sa.select(tables.accounts.c.balance).where(~tables.accounts.c.closed))


async def _fill_at_first_revision(place: Any, tables: ModuleType, revisions: Callable[..., Schema]) -> None:
    older = place.open(revisions("r1"))
    async with older.transaction("acme") as connection:
        values = {"name": "a", "balance": 5}
        await connection.execute(sa.insert(sa.table("accounts", sa.column("name"), sa.column("balance"))), values)
    await older.aclose()


@pytest.mark.covers("database:migrates")
async def test_a_stale_database_is_migrated_with_its_rows(
    place: Any, tables: ModuleType, revisions: Callable[..., Schema]
) -> None:
    await _fill_at_first_revision(place, tables, revisions)
    databases = place.open()
    await databases.migrate("acme")
    assert await _balance(databases, tables) == 1005


@pytest.mark.covers("database:migrates")
async def test_a_newer_database_than_the_release_is_refused(
    place: Any, tables: ModuleType, revisions: Callable[..., Schema]
) -> None:
    async with place.open().transaction("acme") as connection:
        await connection.execute(sa.insert(tables.accounts).values(name="a", balance=5))
    with pytest.raises(Unavailable, match="not one that this release knows"):
        await place.open(revisions("r1")).begin("acme")
    assert await _balance(place.open(), tables) == 5


@pytest.mark.covers("database:migration-all-or-nothing")
async def test_a_failing_revision_leaves_all_as_it_was(
    place: Any, tables: ModuleType, revisions: Callable[..., Schema]
) -> None:
    await _fill_at_first_revision(place, tables, revisions)
    broken = place.open(revisions("r1", "r2", r3=_BREAKS))
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            await broken.begin("acme")
    assert await _balance(place.open(), tables) == 1005


@pytest.mark.covers("database:migration-all-or-nothing")
async def test_a_migration_killed_midway_is_done_by_the_next(
    place: Any, tables: ModuleType, revisions: Callable[..., Schema], tmp_path: Path
) -> None:
    await _fill_at_first_revision(place, tables, revisions)
    for attempt in range(2):
        marker = tmp_path / f"marker-{attempt}"
        with place.work("acme", 1, SHOP_STOPS_HERE=str(marker)) as process:
            await _appears(marker)
            process.kill()
    assert await _balance(place.open(), tables) == 1005


@pytest.mark.covers("database:processes-race")
async def test_processes_that_start_at_once_share_new_databases(place: Any, tables: ModuleType) -> None:
    workers = [place.work(tenant, 25) for tenant in ("acme", "acme", "globex")]
    for worker in workers:
        with worker:
            await anyio.to_thread.run_sync(worker.communicate)
        assert worker.returncode == 0
    assert await _balance(place.open(), tables) == 50


async def _appears(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not await anyio.Path(path).exists():
        assert time.monotonic() < deadline
        await anyio.sleep(0.01)
