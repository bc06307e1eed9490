"""A PostgreSQL database is one installation's: the first that opened it, wherever its folder is now."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tausestack.database.bulk import EVERY, Standing, bring_up
from tausestack.database.mark import MARK_FILE, make_mark, own_mark, whose
from tausestack.errors import Unavailable

pytestmark = [pytest.mark.anyio, pytest.mark.covers("database:one-installation")]


def founded(folder: Path) -> Path:
    folder.mkdir()
    make_mark(folder)
    return folder


async def test_who_opened_it_first_opens_it_and_nobody_else(postgres: Any, tmp_path: Path) -> None:
    make_mark(founded(postgres.data))
    async with postgres.open().reading("acme"):
        pass
    for other in (founded(tmp_path / "other"), tmp_path / "nobodys"):
        postgres.data = other
        databases = postgres.open()
        with pytest.raises(Unavailable, match="another installation") as refused:
            await databases.begin("acme")
        assert str(tmp_path) not in refused.value.message
        with pytest.raises(Unavailable, match="another installation"):
            await databases.exists("acme")
        stale = Standing("shop", EVERY, None, postgres.schema.head)
        with pytest.raises(Unavailable, match="another installation"):
            bring_up(stale, postgres.schema, other, postgres.url)


async def test_what_is_said_tells_what_to_do_and_doing_it_helps(postgres_url: str, tmp_path: Path) -> None:
    first, second = founded(tmp_path / "first"), founded(tmp_path / "second")
    assert whose(first, postgres_url) is None
    why = whose(second, postgres_url)
    assert why is not None
    assert f"another installation ({own_mark(first)})" in why
    assert f"write {own_mark(first)} into {second / MARK_FILE}" in why
    moved = first.rename(tmp_path / "moved")
    assert whose(moved, postgres_url) is None
    shutil.rmtree(moved)
    (second / MARK_FILE).write_text(f"{own_mark_in(postgres_url)}\n")
    assert whose(second, postgres_url) is None


async def test_a_folder_that_bears_no_mark_opens_what_nobody_marked_and_marks_nothing(
    postgres: Any, tmp_path: Path
) -> None:
    async with postgres.open().reading("acme"):
        pass
    assert whose(postgres.data, postgres.url) is None
    assert whose(founded(tmp_path / "other"), postgres.url) is None


async def test_of_many_that_come_at_once_one_has_it(postgres_url: str, tmp_path: Path) -> None:
    folders = [founded(tmp_path / str(number)) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda folder: whose(folder, postgres_url), folders))
    (taken,) = [folder for folder, why in zip(folders, said, strict=True) if why is None]
    assert own_mark_in(postgres_url) == own_mark(taken)


def test_a_mark_is_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: make_mark(tmp_path), range(16)))
    assert made == {own_mark(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == [MARK_FILE]


async def test_a_folder_whose_tenants_are_elsewhere_does_not_begin_in_an_empty_database(
    postgres_url: str, tmp_path: Path
) -> None:
    folder = founded(tmp_path / "data")
    (folder / "tenants" / "_system").mkdir(parents=True)
    (folder / "tenants" / "acme").mkdir()
    why = whose(folder, postgres_url)
    assert why is not None
    assert "which is empty" in why
    (folder / "tenants" / "acme").rmdir()
    assert whose(folder, postgres_url) is None


async def test_a_database_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="can't be reached"):
        whose(tmp_path, f"postgresql://owner@/nowhere?host={tmp_path}")


async def test_tenants_cannot_read_whose_it_is(postgres: Any) -> None:
    make_mark(founded(postgres.data))
    async with postgres.open().reading("acme") as db:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.driver.execute("SELECT id FROM _tausestack.installation")


def own_mark_in(url: str) -> str:
    with psycopg.connect(url) as connection:
        (row,) = connection.execute("SELECT id FROM _tausestack.installation").fetchall()
    return row[0]
