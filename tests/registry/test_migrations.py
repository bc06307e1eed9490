"""A tenant's installations outlive a new release's tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tausestack import testing
from tausestack.database import Schema, TenantDatabases
from tausestack_registry.server import server
from tausestack_registry.tables import SCHEMA

pytestmark = pytest.mark.anyio

RAW = {"name": "now", "inputSchema": {"type": "object"}}


def insert(table: str, **values: Any) -> sa.Insert:
    return sa.insert(sa.table(table, *(sa.column(name) for name in values))).values(values)


@pytest.mark.covers("registry:migrates")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_what_an_earlier_release_installed_is_there(
    database: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else None
    versions = tmp_path / "packages" / "registry_first" / "versions"
    versions.mkdir(parents=True)
    shutil.copy(SCHEMA.folder / "0001_installations.py", versions)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    data = tmp_path / "data"
    earlier = TenantDatabases(Schema("registry", SCHEMA.metadata, "registry_first"), data=data, url=url)
    for tenant in ("acme", "globex"):
        async with earlier.transaction(tenant) as db:
            row = {"ref": "pypi:clock", "title": "clock", "registry_type": "pypi", "identifier": "clock"}
            row |= {"version": "1.0", "argv": '["clock:main"]', "store": "pypi/clock/1.0", "config": '{"A": "1"}'}
            await db.change(insert("installations", name="clock", is_default=True, installed_at="2026-01-01", **row))
            for tool, status in (("now", "active"), ("then", "quarantined")):
                raw = json.dumps({**RAW, "name": tool})
                await db.change(
                    insert("pins", installation="clock", tool=tool, raw=raw, sha256=f"{tool}-1", status=status)
                )
    await earlier.aclose()

    async with testing.stack(server, data=data, database_url=url, masters=lambda: {"one": b"k" * 32}) as stack:
        for tenant in ("acme", "globex"):
            system = stack.tenant(tenant, system=True)
            found = {one["name"]: one for one in (await system.call("snapshot"))["installations"]}["clock"]
            assert (found["kind"], found["default"], found["protocols"], found["url"]) == ("adapter", True, [], None)
            assert found["offer"]["prompts"] == []
            assert {tool["name"]: tool["status"] for tool in found["tools"]} == {"now": "active", "then": "quarantined"}
            launch = await system.call("launch", {"server": "clock"})
            assert (launch["env"], launch["pins"]) == ({"A": "1"}, {"now": "now-1"})
        stack.answer("adapter/stop", lambda _: {"stopped": True})
        assert (await stack.acme.call("approve", {"name": "clock"}))["status"] == "active"
        assert (await stack.globex.call("list_installed"))["servers"]
