"""What an installation keeps, as a command on its own machine opens it, beside a running stack or alone."""

from __future__ import annotations

import fcntl
import importlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from tausestack.database import Connection, Row, TenantDatabases, Vault
from tausestack.database.whole import Whole
from tausestack.errors import Conflict, NotFound
from tausestack.names import SYSTEM_TENANT, check_tenant
from tausestack_runtime.keys import Masters
from tausestack_runtime.ledger import erasing
from tausestack_runtime.life.folder import Folder
from tausestack_runtime.life.life import BUSY, LOCK
from tausestack_runtime.schemas import schemas
from tausestack_runtime.services import SERVICES
from tausestack_runtime.settings import Settings, StartError
from tausestack_runtime.supervisor.ground import check_database, claim_beside

IMPORTING = "importing"
AUTH = "auth"
TENANTS = "tenants"
"""Auth's table of them in `_system`, which is written by who takes a tenant in."""
NO_GATEWAY = 0
"""Who writes to a chain from here: no gateway has this number."""


@dataclass(frozen=True)
class Kept:
    """What one service keeps of tenants."""

    name: str
    databases: TenantDatabases
    vault: Vault | None
    travels: Callable[[], Any] | None

    @cached_property
    def beside(self) -> Any:
        """What takes out and in what it keeps beside its tables, or None."""
        return None if self.travels is None else self.travels()

    async def aclose(self) -> None:
        """Close its databases, and what is beside them where that was asked for."""
        await self.databases.aclose()
        if self.__dict__.get("beside") is not None:
            await self.beside.aclose()


class Here:
    """All that an installation keeps, by service; belongs to one event loop."""

    def __init__(self, settings: Settings, masters: Masters, others: Sequence[str] = ()) -> None:
        """Open nothing yet, or raise `StartError` where what is kept is in a database that nobody names."""
        check_database(settings.data, settings.database_url)
        self.data, self.url, self.masters = settings.data, settings.database_url, masters
        specs = {spec.name: spec for spec in SERVICES}
        found: dict[str, Kept] = {}
        for schema in schemas(others):
            spec = specs.get(schema.service)
            seals, travels = (None, None) if spec is None else (spec.seals, spec.travels)
            found[schema.service] = Kept(
                schema.service,
                TenantDatabases(schema, data=self.data, url=self.url),
                None if not schema.sealed else Vault(schema.service, schema.sealed, self._given(seals)),
                None if travels is None else partial(_named, travels, self.data, self.url),
            )
        self.workers = {spec.name for spec in SERVICES if spec.worker}
        # Who has others work opens first: of what it says was done, the others' snapshots hold the effects.
        self.services = dict(sorted(found.items(), key=lambda one: one[0] not in self.workers))

    @property
    def ledger_keys(self) -> list[bytes]:
        """What seals chains' heads: the first; all are accepted."""
        return [each.subkey("ledger") for each in self.masters.live()]

    @property
    def tenants(self) -> sa.Table:
        """The table of `_system` in which tenants stand."""
        return self._auth.schema.metadata.tables[TENANTS]

    async def aclose(self) -> None:
        """Close every database."""
        for kept in self.services.values():
            await kept.aclose()

    async def tenant(self, tenant: str) -> dict[str, Any] | None:
        """Return a tenant as auth keeps it, or None."""
        return next((one for one in await self.every_tenant() if one["id"] == tenant), None)

    async def every_tenant(self) -> list[dict[str, Any]]:
        """Return every tenant as auth keeps it, by id."""
        if not await self._auth.exists(SYSTEM_TENANT):
            return []
        async with self._auth.reading(SYSTEM_TENANT) as db:
            return await self.tenants_in(db)

    async def tenants_in(self, db: Connection) -> list[dict[str, Any]]:
        """Return every tenant in a snapshot of auth's `_system`."""
        rows: list[Row] = await db.execute(sa.select(self.tenants).order_by(self.tenants.c.id))
        names = [str(name) for name in self.tenants.c.keys()]  # noqa: SIM118 columns, not their names
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def appear(self, tenant: dict[str, Any]) -> None:
        """Write a tenant down as one that is being imported, or raise `Conflict` where it is there."""
        if await self.tenant(tenant["id"]) is not None:
            raise Conflict(f"the tenant '{tenant['id']}' is there already")
        async with self._auth.transaction(SYSTEM_TENANT) as db:
            await db.execute(sa.insert(self.tenants).values({**tenant, "status": IMPORTING}))

    async def settle(self, statuses: Mapping[str, str]) -> None:
        """Give tenants that were being imported their status, all at once: from now on they are there."""
        async with self._auth.transaction(SYSTEM_TENANT) as db:
            for tenant, status in statuses.items():
                is_it = (self.tenants.c.id == tenant, self.tenants.c.status == IMPORTING)
                if not await db.change(sa.update(self.tenants).where(*is_it).values(status=status)):
                    raise Conflict(f"'{tenant}' was deleted while it was imported")

    async def left(self, tenant: str) -> dict[str, Any]:
        """Return what there is of a tenant in databases, files and the ledger."""
        found: dict[str, Any] = {}
        for kept in self.services.values():
            counts = await Whole(kept.databases).count(tenant)
            if kept.beside is not None:
                counts["beside"] = await kept.beside.count(tenant)
            found[kept.name] = {name: number for name, number in counts.items() if number}
        found["ledger"] = erasing.count(self.data, self.ledger_keys, tenant)
        found["files"] = Folder(self.data, tenant).count()
        return {name: what for name, what in found.items() if what}

    async def erase(self, tenant: str) -> None:
        """Delete all that an import that did not end left behind."""
        check_tenant(tenant)
        for kept in self.services.values():
            if kept.beside is not None:
                await kept.beside.erase(tenant)
            await Whole(kept.databases).erase(tenant)
        erasing.erase(self.data, self.ledger_keys, tenant, NO_GATEWAY)
        Folder(self.data, tenant).remove()
        async with self._auth.transaction(SYSTEM_TENANT) as db:
            await db.wipe()
            await db.change(
                sa.delete(self.tenants).where(self.tenants.c.id == tenant, self.tenants.c.status == IMPORTING)
            )
        await self._auth.settle(SYSTEM_TENANT)

    async def known(self, tenant: str) -> dict[str, Any]:
        """Return a tenant that is there, or raise `NotFound`."""
        found = await self.tenant(tenant)
        if found is None or found["status"] not in {"active", "suspended"}:
            raise NotFound(f"there is no tenant '{tenant[:80]}'")
        return found

    @property
    def _auth(self) -> TenantDatabases:
        return self.services[AUTH].databases

    def _given(self, name: str | None) -> Callable[[], Mapping[str, bytes]] | None:
        """Return what gives a service's vault its keys, as the supervisor gives them to its process."""
        if name is None:
            return None
        return lambda: {master.id: master.subkey(name) for master in self.masters.sealing()}


@contextmanager
def beside(settings: Settings) -> Generator[Masters]:
    """Keep a stack of another release from running meanwhile, and return the installation's masters.

    Raises `StartError` where there is no installation, or it is somebody else's.
    """
    check_owner(settings.data)
    lock = claim_beside(settings.data)
    try:
        yield Masters.of(settings, make=False)
    finally:
        if lock is not None:
            os.close(lock)


def check_owner(data: Path) -> None:
    """Raise `StartError` unless the data folder is this user's own: what another makes there, a stack can't open."""
    if data.is_dir() and data.stat().st_uid != os.geteuid():
        raise StartError(f"{data} belongs to another user: run this as that user")


@contextmanager
def tenants_turn(data: Path, how: Literal["alone", "with others"]) -> Generator[None]:
    """Keep tenants from being deleted or imported meanwhile; the kernel ends a dead one's turn."""
    lock = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if how == "alone" else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(BUSY) from None
        yield
    finally:
        os.close(lock)


def _named(where: str, data: Path, url: str | None) -> Any:
    name, _, attribute = where.partition(":")
    return getattr(importlib.import_module(name), attribute)(data, url)
