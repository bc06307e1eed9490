"""A small service's databases on both kinds, opened as a test needs them."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tausestack.database import Schema, TenantDatabases

_HERE = Path(__file__).parent


@dataclass
class Place:
    """Where a test's databases are: a data folder, and PostgreSQL's URL or None."""

    data: Path
    url: str | None
    schema: Schema
    opened: list[TenantDatabases] = field(default_factory=list)

    def open(self, schema: Schema | None = None, **options: Any) -> TenantDatabases:
        """Open the databases, to be closed with the test."""
        databases = TenantDatabases(schema or self.schema, data=self.data, url=self.url, **options)
        self.opened.append(databases)
        return databases

    def work(self, tenant: str, count: int, **environment: str) -> subprocess.Popen[str]:
        """Start a process that adds to a tenant's account and prints what is there at its end."""
        return subprocess.Popen(
            [sys.executable, _HERE / "shop" / "work.py", self.data, self.url or "", tenant, str(count)],
            env={**os.environ, "PYTHONPATH": str(_HERE), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session")
def tables() -> Iterator[ModuleType]:
    """The shop's tables."""
    sys.path.insert(0, str(_HERE))
    yield importlib.import_module("shop.tables")
    sys.path.remove(str(_HERE))


@pytest.fixture
def schema(tables: ModuleType) -> Schema:
    """The shop's schema at its newest."""
    return Schema("shop", tables.metadata, "shop.migrations")


@pytest.fixture
def revisions(tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Schema]:
    """Make a schema of the shop out of the named revisions, and further ones given as text."""
    made = iter(range(100))

    def make(*names: str, **texts: str) -> Schema:
        package = f"{tmp_path.name.replace('-', '_')}_{next(made)}"
        folder = tmp_path / "packages" / package / "versions"
        folder.mkdir(parents=True)
        for name in names:
            shutil.copy(_HERE / "shop" / "migrations" / "versions" / f"{name}.py", folder)
        for name, text in texts.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path / "packages")
        return Schema("shop", tables.metadata, package)

    return make


@pytest.fixture
async def sqlite(schema: Schema, tmp_path: Path) -> AsyncIterator[Place]:
    """The shop on SQLite."""
    place = Place(tmp_path / "data", None, schema)
    yield place
    for databases in place.opened:
        await databases.aclose()


@pytest.fixture
async def postgres(schema: Schema, tmp_path: Path, postgres_url: str) -> AsyncIterator[Place]:
    """The shop on PostgreSQL."""
    place = Place(tmp_path / "data", postgres_url, schema)
    yield place
    for databases in place.opened:
        await databases.aclose()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    """The shop on either: what a test asks of it holds for both."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def databases(place: Place) -> TenantDatabases:
    """The shop's databases, open."""
    return place.open()
