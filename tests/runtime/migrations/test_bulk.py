"""Migrating all tenants at once, killed wherever it is, on both databases."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from kit_shelves.server import SCHEMA, books, metadata, shelves

from tausestack.contract import VERSION
from tausestack.database import Schema, TenantDatabases
from tausestack.database.bulk import standings

pytestmark = pytest.mark.anyio

FAKES = Path(__file__).parents[2] / "fakes"
TAUSESTACK = Path(sys.executable).with_name("tausestack")
BOOKS = 40


@dataclass
class Shop:
    """A data folder, or a PostgreSQL database, with tenants at the first revision."""

    data: Path
    url: str | None
    first: Schema

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        variables = {"TAUSESTACK_DATABASE_URL": self.url} if self.url else {}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.data), "PYTHONPATH": str(FAKES), **variables}
        own = ["--server", "kit_shelves.server:server", "--data", str(self.data)]
        return [str(TAUSESTACK), "db", *arguments, *own], environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command, environment = self.command(*arguments)
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, environment = self.command(*arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    def revisions(self) -> Counter[str]:
        """How many databases are at which revision, "unreadable" for those that are none."""
        found = standings(SCHEMA, self.data, self.url)
        return Counter("unreadable" if one.trouble else str(one.revision) for one in found)

    async def fill(self, tenants: int) -> list[str]:
        names = [f"tenant-{number}" for number in range(tenants)]
        old = TenantDatabases(self.first, data=self.data, url=self.url, max_open=8)
        bare = sa.table("books", *(sa.column(name) for name in ("id", "title", "copies")))
        for number, name in enumerate(names):
            rows = [{"id": n, "title": f"{name} {n}", "copies": number + n} for n in range(BOOKS)]
            async with old.transaction(name) as db:
                await db.execute(sa.insert(bare), rows)
        await old.aclose()
        return names

    async def check(self, names: list[str]) -> None:
        """Every row is there, and every revision was run on it once."""
        now = TenantDatabases(SCHEMA, data=self.data, url=self.url, max_open=8)
        for number, name in enumerate(names):
            async with now.reading(name) as db:
                rows = await db.execute(sa.select(books).order_by(books.c.id))
                named = await db.execute(sa.select(shelves.c.name))
            wanted = [(n, f"{name} {n}", (number + n) * 10 + 7, f"shelf {number + n}") for n in range(BOOKS)]
            assert [tuple(row) for row in rows] == wanted
            assert {row.name for row in named} == {row[3] for row in wanted}
        await now.aclose()


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Schema:
    """The schema as it was at its first revision."""
    package = f"first_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / "packages" / package / "versions"
    folder.mkdir(parents=True)
    shutil.copy(FAKES / "kit_shelves" / "migrations" / "versions" / "r1.py", folder)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return Schema("shelves", metadata, package)


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, first: Schema) -> Shop:
    """The shop on either database."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    data = tmp_path / "data"
    data.mkdir()
    return Shop(data, url, first)


def _lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith("}\n"):
            yield json.loads(line)


def _killed(process: subprocess.Popen[str], wait: Callable[[], float | None], after: int) -> bool:
    """Kill a migration some time after a line of its; return whether it had not ended by itself."""
    with process:
        for _, _line in zip(range(after), _lines(process), strict=False):
            continue
        assert process.stdout is not None
        select.select([], [], [], wait())
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.covers("migrations:bulk")
async def test_every_tenant_is_brought_to_the_newest_revision_and_told_of(shop: Shop) -> None:
    names = await shop.fill(12)
    databases = 1 if shop.url else len(names)
    told = json.loads(shop.run("status", "--json").stdout)
    before = next(one for one in told["services"] if one["service"] == "shelves")
    assert (before["databases"], before["stale"], before["revisions"]) == (databases, databases, {"r1": databases})
    done = shop.run("migrate", "--json")
    assert done.returncode == 0, done.stderr
    *each, summary = [json.loads(line) for line in done.stdout.splitlines()]
    own = [one for one in each if one["service"] == "shelves"]
    assert {(one["from"], one["to"], one["ok"]) for one in own} == {("r1", "r4", True)}
    assert sorted(one["tenant"] for one in own) == (["*"] if shop.url else sorted(names))
    assert (each[-1]["done"], each[-1]["total"], summary["failed"]) == (len(each), len(each), [])
    assert shop.revisions() == {"r4": databases}
    await shop.check(names)
    assert json.loads(shop.run("migrate", "--json").stdout)["migrated"] == 0


@pytest.mark.covers("migrations:others-go-on")
async def test_one_that_can_not_be_migrated_is_named_and_keeps_no_other_waiting(tmp_path: Path, first: Schema) -> None:
    shop = Shop(tmp_path / "data", None, first)
    names = await shop.fill(4)
    torn = shop.data / "tenants" / names[1] / "shelves.db"
    torn.write_bytes(b"no database at all" * 1000)
    assert shop.revisions() == {"r1": 3, "unreadable": 1}
    done = shop.run("migrate")
    assert done.returncode == 1
    assert names[1] in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2, done.stderr
    await shop.check([names[0]])
    assert shop.revisions() == {"r4": 3, "unreadable": 1}
    assert torn.read_bytes().startswith(b"no database at all")


@pytest.mark.covers("migrations:killed")
async def test_a_migration_killed_a_few_times_comes_to_its_end(shop: Shop) -> None:
    await _killed_and_resumed(shop, tenants=30, kills=2, seed=7)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.covers("migrations:killed")
@pytest.mark.parametrize("seed", range(3))
async def test_a_migration_of_hundreds_killed_all_over_comes_to_its_end(shop: Shop, seed: int) -> None:
    await _killed_and_resumed(shop, tenants=400, kills=25, seed=seed)


async def _killed_and_resumed(shop: Shop, *, tenants: int, kills: int, seed: int) -> None:
    names = await shop.fill(tenants)
    chance = random.Random(seed)
    killed = 0
    for _ in range(kills):
        # On PostgreSQL all is one transaction a service, so the moment alone tells kills apart.
        after = 0 if shop.url else chance.randrange(max(1, tenants // kills))
        most = 2.5 if shop.url else 0.03
        killed += _killed(shop.start("migrate", "--json"), lambda most=most: chance.uniform(0, most), after)
        assert shop.revisions().keys() <= {"r1", "r4"}, "a database is between two revisions"
    assert killed > 0
    done = shop.run("migrate", "--json")
    assert done.returncode == 0, done.stderr
    assert shop.revisions() == {"r4": 1 if shop.url else tenants}
    await shop.check(names)


@pytest.mark.covers("migrations:beside")
async def test_a_stack_of_another_release_on_the_folder_has_it_refused(tmp_path: Path, first: Schema) -> None:
    shop = Shop(tmp_path / "data", None, first)
    names = await shop.fill(2)
    for release, refused in (("1 0.0.1\n", True), ("1\n", True), (f"1 {VERSION}\n", False)):
        with _held(shop.data / "lock", release):
            done = shop.run("migrate", "--json")
        assert (done.returncode == 1) is refused, done.stderr
        assert ("another release" in done.stderr) is refused
    await shop.check(names)


@contextlib.contextmanager
def _held(lock: Path, text: str) -> Iterator[None]:
    """Hold a data folder's lock as a stack does."""
    with lock.open("w") as file:
        file.write(text)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
