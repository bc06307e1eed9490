"""Writing tenants into an archive: each service's share of one moment, and the ledger after all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson

from tausestack.database.leaving import Leaving, leaving
from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.ledger import travelling
from tausestack_runtime.ledger.reading import Open, opened
from tausestack_runtime.life.archive import ArchiveWriter
from tausestack_runtime.life.files import LeavingFiles
from tausestack_runtime.life.here import AUTH, TENANTS, Here

FILES, LEDGER = "files", "ledger"
SERVERS = "servers"
"""The folder of what a tenant's servers write, below its own."""
BESIDE = "beside"
"""What follows a service's name in the part of what it keeps beside its tables."""

Told = dict[str, Any]


async def export_tenant(here: Here, tenant: str, archive: ArchiveWriter) -> Told:
    """Write one tenant's archive, and return what the manifest tells of the tenant."""
    await here.known(tenant)
    archive.begin("tenant", _now())
    told = await leave(here, tenant, 0, archive)
    archive.finish([told])
    return told


async def back_up(here: Here, archive: ArchiveWriter) -> list[Told]:
    """Write an archive of every tenant and of `_system`, and return what the manifest tells of each."""
    archive.begin("installation", _now())
    told = [await leave(here, SYSTEM_TENANT, 0, archive)]
    for one in await here.every_tenant():
        if one["status"] in {"active", "suspended"}:
            told.append(await leave(here, one["id"], len(told), archive))
    archive.finish(told)
    return told


async def leave(here: Here, tenant: str, group: int, archive: ArchiveWriter) -> Told:
    """Write all that is kept of a tenant, and return what is told of it: `{"id", …, "parts": {name: {…}}}`."""
    async with _moment(here, tenant) as (shares, chain):
        parts: dict[str, Told] = {}
        told = await _about(here, tenant, shares[AUTH])
        for name, share in shares.items():
            kept, count = here.services[name], 0
            async for record in share.records(archive.keys.seal, without={TENANTS}):
                archive.add(group, name, orjson.dumps(record))
                count += 1
            archive.end(group, name)
            parts[name] = {"revision": kept.databases.schema.head, "records": count}
            if kept.beside is not None and tenant != SYSTEM_TENANT:
                parts[f"{name}-{BESIDE}"] = await _beside(kept.beside, tenant, group, f"{name}-{BESIDE}", archive)
        parts[FILES] = _files(here, tenant, group, archive)
        if chain is not None:
            for line in travelling.leave(chain):
                archive.add(group, LEDGER, line)
            archive.end(group, LEDGER)
            parts[LEDGER] = travelling.told(chain)
    return {**told, "parts": parts}


@asynccontextmanager
async def _moment(here: Here, tenant: str) -> AsyncGenerator[tuple[dict[str, Leaving], Open | None]]:
    """Open every service's share before any is read, then the ledger.

    What had an effect on a share is in the ledger by then: its intent at the least.
    """
    async with AsyncExitStack() as stack:
        shares = {
            kept.name: await stack.enter_async_context(leaving(kept.databases, kept.vault, tenant))
            for kept in here.services.values()
        }
        yield shares, stack.enter_context(opened(here.data, here.ledger_keys, tenant))


async def _about(here: Here, tenant: str, auth: Leaving) -> Told:
    if tenant == SYSTEM_TENANT or auth.system is None:
        return {"id": tenant}
    found = next(one for one in await here.tenants_in(auth.system) if one["id"] == tenant)
    # Which of the tenants of that id it was is told to no other: what arrives is another.
    kept = {name: value for name, value in found.items() if name != "incarnation"}
    return {**kept, "settings": dict(found["settings"])}


async def _beside(beside: Any, tenant: str, group: int, part: str, archive: ArchiveWriter) -> Told:
    count = 0
    async for record in beside.leave(tenant):
        archive.add(group, part, orjson.dumps(record))
        count += 1
    archive.end(group, part)
    return {"records": count}


def _files(here: Here, tenant: str, group: int, archive: ArchiveWriter) -> Told:
    files = LeavingFiles(here.data / "tenants" / tenant / SERVERS)
    for record in files.records():
        archive.add(group, FILES, orjson.dumps(record))
    archive.end(group, FILES)
    return {"files": files.files, "left_out": files.left_out}


def _now() -> str:
    return datetime.now(UTC).isoformat()
