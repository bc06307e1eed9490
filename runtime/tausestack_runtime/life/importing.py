"""Taking tenants out of an archive: what is there of one that was cut off half-way is for nobody, and is erased."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from tausestack.contract import BillingPlan
from tausestack.database.arriving import Arriving, Taken
from tausestack.errors import Conflict, InvalidRequest
from tausestack.names import SYSTEM_TENANT, check_tenant
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.limits.allowances import SETTING, checked
from tausestack_runtime.ledger import travelling
from tausestack_runtime.life.archive import Archive
from tausestack_runtime.life.exporting import BESIDE, FILES, LEDGER, SERVERS
from tausestack_runtime.life.files import take_in
from tausestack_runtime.life.here import IMPORTING, Here

ARRIVING = ".arriving"
MAX_SETTINGS = 64 * 1024

Told = dict[str, Any]


async def import_tenant(here: Here, archive: Archive, name: str | None) -> Told:
    """Take in the tenant of an archive, under its own id or another, and return what came of it."""
    if len(archive.tenants) != 1:
        raise InvalidRequest("it is not the archive of one tenant")
    about = tenant_of(archive.tenants[0], name)
    await clear(here, about["id"])
    await here.appear(about)
    try:
        taken = await arrive(here, archive, 0, about["id"])
    except BaseException as error:
        await here.erase(about["id"])
        if isinstance(error, Taken):
            raise Conflict(
                "its API keys are in use by another tenant here, the one that was exported or a copy of it: a key is "
                "one tenant's, so delete that one first ('tausestack tenant delete'), then import again"
            ) from error
        raise
    await here.settle({about["id"]: about["status"]})
    return {"tenant": about, "taken": taken}


async def restore(here: Here, archive: Archive, appear: Callable[[], None]) -> dict[str, Told]:
    """Take in every tenant of a backup, `_system` first, and return what came of each; the installation is empty.

    `appear` puts the files in their place, once all of them are there.
    """
    abouts = {
        number: tenant_of(one, None) for number, one in enumerate(archive.tenants) if one.get("id") != SYSTEM_TENANT
    }
    if not archive.tenants or archive.tenants[0].get("id") != SYSTEM_TENANT or len(abouts) != len(archive.tenants) - 1:
        raise InvalidRequest("it is no backup of an installation")
    if len({one["id"] for one in abouts.values()}) != len(abouts):
        raise InvalidRequest("it holds a tenant twice")
    taken = {SYSTEM_TENANT: await arrive(here, archive, 0, SYSTEM_TENANT)}
    for number, about in abouts.items():
        await here.appear(about)
        taken[about["id"]] = await arrive(here, archive, number, about["id"])
    statuses = {one["id"]: one["status"] for one in abouts.values()}
    if here.url is None:  # the statuses are in the files
        await here.settle(statuses)
        await here.aclose()
        appear()
    else:
        appear()
        await here.settle(statuses)
    return taken


async def wipe(here: Here) -> None:
    """See that an installation is empty; what a restore that was cut off left in a database is erased."""
    there = await here.every_tenant()
    if any(one["status"] != IMPORTING for one in there):
        raise Conflict("the database holds tenants already: restore into an empty one (--database-url)")
    for one in there:
        await here.erase(one["id"])
    for kept in here.services.values():
        if not kept.databases.in_files:
            await kept.databases.delete(SYSTEM_TENANT)


async def clear(here: Here, tenant: str) -> None:
    """See that nothing is kept under an id; what an import that was cut off left is erased."""
    found = await here.tenant(tenant)
    if found is not None and found["status"] == IMPORTING:
        await here.erase(tenant)
    elif found is not None:
        raise Conflict(
            f"the tenant '{tenant}' is there already: delete it first, or, where it is not the one that was exported, "
            "import under another id (--as)"
        )
    left = await here.left(tenant)
    if left:
        raise Conflict(f"something is kept under the id '{tenant}' already: 'tausestack doctor' tells what ({left})")


async def arrive(here: Here, archive: Archive, group: int, tenant: str) -> Told:
    """Take in all of a tenant's parts, and return how much each has."""
    parts = object_at(archive.tenants[group], "parts")
    besides = {f"{kept.name}-{BESIDE}" for kept in here.services.values() if kept.travels and kept.name in parts}
    unknown = parts.keys() - here.services.keys() - besides - {FILES, LEDGER}
    if unknown:
        names = ", ".join(sorted(unknown))[:200]
        raise InvalidRequest(f"it holds what no service here keeps: {names}; --server names a server of yours")
    taken: Told = {}
    home = here.data / "tenants" / tenant
    workplace = home / ARRIVING
    for folder in (home.parent, home, workplace):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        # Who has others work comes last: what is to be done at once is done with what the others keep.
        for name in sorted(here.services, key=lambda name: name in here.workers):
            if name in parts:
                taken |= await _share(here, archive, group, tenant, name, workplace)
    finally:
        shutil.rmtree(workplace)
    if tenant != SYSTEM_TENANT:
        taken[FILES] = take_in(home / SERVERS, archive.records(group, FILES))
    if LEDGER in parts:
        said = travelling.Told.of(object_at(parts, LEDGER))
        was = str(archive.tenants[group].get("id"))
        before = None if was == tenant else was
        lines = archive.lines(group, LEDGER)
        taken[LEDGER] = travelling.arrive(here.data, here.ledger_keys, tenant, lines, said, before)
    return {name: number for name, number in taken.items() if number}


async def _share(here: Here, archive: Archive, group: int, tenant: str, name: str, workplace: Path) -> Told:
    """Take in one service's share: its rows, and what it keeps beside them."""
    kept, told = here.services[name], object_at(archive.tenants[group], "parts", name)
    arriving = Arriving(kept.databases, here.data, workplace, tenant, str(told.get("revision")))
    taken = {name: arriving.gather(archive.records(group, name))}
    if taken[name]:
        await arriving.move_in()
        if kept.vault is not None:
            await arriving.unseal(kept.vault, archive.keys.unseal)
    beside = f"{name}-{BESIDE}"
    if kept.beside is not None and tenant != SYSTEM_TENANT:
        taken[beside] = await kept.beside.arrive(tenant, archive.records(group, beside))
    return taken


def tenant_of(told: Mapping[str, Any], name: str | None) -> Told:
    """Return a tenant as auth keeps it by what an archive tells, or raise `InvalidRequest` for what can't be one."""
    tenant = check_tenant(name or str(told.get("id")))
    label, plan, status, made = (told.get(field) for field in ("name", "plan", "status", "created_at"))
    settings = as_object(told.get("settings"))
    good = (
        isinstance(label, str)
        and label.isprintable()
        and len(label) <= 200
        and plan in get_args(BillingPlan)
        and status in {"active", "suspended"}
        and isinstance(made, str)
        and settings is not None
        and len(str(settings)) <= MAX_SETTINGS
    )
    if not good or settings is None:
        raise InvalidRequest("the archive tells of a tenant that can't be one here: its name, plan, status or settings")
    checked(as_object(settings.get(SETTING)) or {})
    try:
        datetime.fromisoformat(str(made))
    except ValueError as error:
        raise InvalidRequest("the archive tells of a tenant that was made at no time") from error
    return {"id": tenant, "name": label, "plan": plan, "status": status, "created_at": made, "settings": settings}
