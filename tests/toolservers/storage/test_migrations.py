"""What an earlier release stored is counted once the tables know of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tausestack import testing
from tausestack.database import Schema, TenantDatabases
from tausestack_toolservers.storage.server import server
from tausestack_toolservers.storage.tables import SCHEMA

pytestmark = pytest.mark.anyio

AT = "2026-01-01T00:00:00+00:00"


@pytest.mark.covers("storage:counted")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_the_bytes_of_each_tenant_that_were_there_are_counted(
    database: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None
    versions = tmp_path / "packages" / "storage_first" / "versions"
    versions.mkdir(parents=True)
    shutil.copy(SCHEMA.folder / "0001_documents.py", versions)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    data = tmp_path / "data"
    earlier = TenantDatabases(Schema("storage", SCHEMA.metadata, "storage_first"), data=data, url=url)
    documents = sa.table("documents", *(sa.column(name) for name in ("key", "body", "created_at", "updated_at")))
    for tenant, bodies in {"acme": ['"four"', "[1]"], "globex": ["null"]}.items():
        async with earlier.transaction(tenant) as db:
            for number, body in enumerate(bodies):
                row: dict[str, Any] = {"key": f"k{number}", "body": body, "created_at": AT, "updated_at": AT}
                await db.change(sa.insert(documents).values(**row))
    await earlier.aclose()

    async with testing.stack(server, data=data, database_url=url) as stack:

        async def used(tenant: str) -> int:
            return (await stack.tenant(tenant, system=True).call("limits_used"))["storage_bytes"]

        assert [await used(tenant) for tenant in ("acme", "globex", "initech")] == [9, 4, 0]
        await stack.acme.call("delete_json", {"key": "k0"})
        await stack.globex.call("put_json", {"key": "k0", "value": [1, 2]})
        assert [await used(tenant) for tenant in ("acme", "globex", "initech")] == [3, 5, 0]
