"""What is left of tenants that are no more: in databases, files, processes, sockets, open files and secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tausestack.database.vault import DATA_KEYS
from tausestack.database.whole import Whole
from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.life.folder import counted, opened
from tausestack_runtime.life.here import IMPORTING, Here
from tausestack_runtime.services import ADAPTER, socket_path
from tausestack_runtime.supervisor.ground import RESTORING

Found = dict[str, list[str]]


async def leftovers(here: Here, figures: Mapping[str, Any]) -> Found:
    """Return what is left, by kind: nothing, where all was deleted as it should be.

    `figures` is what the supervisor says of its processes. Rows in tables that tenants share on PostgreSQL are walled
    off from everybody but their tenant, so that those of an unknown one can't be listed.
    """
    there = {one["id"] for one in await here.every_tenant()}
    found = await _look(here, figures, there)
    if found:  # who came, or went, while it was looked is none
        found = await _look(here, figures, there | {one["id"] for one in await here.every_tenant()})
    unfinished = [one for one in await here.every_tenant() if one["status"] in {"deleting", IMPORTING}]
    if unfinished:
        found["unfinished"] = [f"{one['id']} is {one['status']}" for one in unfinished]
    return found


async def _look(here: Here, figures: Mapping[str, Any], there: set[str]) -> Found:
    found: Found = {
        "rows": await _rows(here, there),
        "files": _files(here, there),
        "secrets": _secrets(here, there),
        "processes": [f"{one['name']} (process {one['pid']})" for one in _strange(figures["services"], there)],
        "sockets": _sockets(Path(figures["supervisor"]["run"]), there),
        "open files": _open_files(here.data, there, figures),
    }
    return {kind: what for kind, what in found.items() if what}


async def _rows(here: Here, there: set[str]) -> list[str]:
    """Return the tables of `_system` that hold rows about tenants that are not there."""
    found: list[str] = []
    for kept in here.services.values():
        if not await kept.databases.exists(SYSTEM_TENANT):
            continue
        async with kept.databases.reading(SYSTEM_TENANT) as db:
            for table, owner in await Whole(kept.databases).owned(db):
                owners = await db.execute(sa.select(owner, sa.func.count()).group_by(owner))
                found += [f"{kept.name}.{table.name}: {rows} of {name}" for name, rows in owners if name not in there]
    return found


def _files(here: Here, there: set[str]) -> list[str]:
    root = here.data / "tenants"
    names = sorted(entry.name for entry in root.iterdir()) if root.is_dir() else []
    found = (
        [f"{RESTORING}: {counted(here.data / RESTORING)['files']} files"] if (here.data / RESTORING).exists() else []
    )
    for name in names:
        if name not in {*there, SYSTEM_TENANT}:
            count = counted(root / name)
            found.append(f"tenants/{name}: {count.get('files', 1)} files")
    return found


def _secrets(here: Here, there: set[str]) -> list[str]:
    """Return the files with data keys of tenants that are not there, which open what is left of their secrets."""
    sealing = [kept.name for kept in here.services.values() if kept.vault is not None]
    files = (path for name in sealing for path in sorted((here.data / "tenants").glob(f"*/{name}.db")))
    return [
        f"{DATA_KEYS.name} in tenants/{path.parent.name}/{path.name}"
        for path in files
        if path.parent.name not in {*there, SYSTEM_TENANT}
    ]


def _strange(services: Iterable[Mapping[str, Any]], there: set[str]) -> list[Mapping[str, Any]]:
    return [one for one in services if one.get("tenant") and one["tenant"] not in there and one.get("pid")]


def _sockets(run: Path, there: set[str]) -> list[str]:
    known = {socket_path(run, ADAPTER.name, tenant).name for tenant in there}
    return [path.name for path in sorted(run.glob(f"{ADAPTER.name}-*.sock")) if path.name not in known]


def _open_files(data: Path, there: set[str], figures: Mapping[str, Any]) -> list[str]:
    """Return the files of tenants that are not there which a process of the stack holds open, removed ones too."""
    root = (data / "tenants").absolute()
    held = [
        (one["name"], Path(name).relative_to(root))
        for one in (*figures["services"], *figures["gateways"])
        if one["pid"]
        for name in opened(one["pid"])
        if name.startswith(f"{root}/")
    ]
    return [f"{name} holds {path}" for name, path in held if path.parts[0] not in {*there, SYSTEM_TENANT}]
