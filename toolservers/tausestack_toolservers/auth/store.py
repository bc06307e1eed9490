"""Queries of the auth service. What is of `_system` and what is of a tenant never share a transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tausestack.database import Connection, Row
from tausestack_toolservers.auth.tables import api_keys, key_lookup, tenants


def fields(table: sa.Table, row: Row) -> dict[str, Any]:
    """Return a whole row of a table by the names of its columns."""
    return dict(zip(table.c.keys(), row, strict=True))


async def add_tenant(system: Connection, values: dict[str, Any]) -> None:
    """Add a tenant to `_system`."""
    await system.execute(sa.insert(tenants).values(**values))


async def tenant(system: Connection, tenant_id: str) -> Row | None:
    """Return a tenant, or None."""
    return await system.one(sa.select(tenants).where(tenants.c.id == tenant_id))


async def set_settings(system: Connection, tenant_id: str, settings: dict[str, Any]) -> None:
    """Replace a tenant's settings."""
    await system.execute(sa.update(tenants).where(tenants.c.id == tenant_id).values(settings=settings))


async def set_status(system: Connection, tenant_id: str, status: str) -> None:
    """Set a tenant's status."""
    await system.execute(sa.update(tenants).where(tenants.c.id == tenant_id).values(status=status))


async def strike_tenant(system: Connection, tenant_id: str, status: str) -> None:
    """Remove a tenant of a status from `_system`, so that the file keeps no trace of it."""
    await system.wipe()
    await system.execute(sa.delete(tenants).where(tenants.c.id == tenant_id, tenants.c.status == status))


async def all_tenants(system: Connection) -> list[Row]:
    """Return every tenant by id."""
    return await system.execute(sa.select(tenants).order_by(tenants.c.id))


async def add_lookup(system: Connection, key_hash: str, owner: str, key_id: str) -> None:
    """Note in `_system` whose a key is."""
    await system.execute(sa.insert(key_lookup).values(hash=key_hash, owner=owner, key_id=key_id))


async def lookup(system: Connection, key_hash: str) -> Row | None:
    """Return the owner and the id of a key by its hash, or None."""
    return await system.one(sa.select(key_lookup.c.owner, key_lookup.c.key_id).where(key_lookup.c.hash == key_hash))


async def add_key(db: Connection, values: dict[str, Any]) -> None:
    """Add a key to its tenant."""
    await db.execute(sa.insert(api_keys).values(**values))


async def key(db: Connection, key_id: str) -> Row | None:
    """Return a key of the tenant, or None."""
    return await db.one(sa.select(api_keys).where(api_keys.c.id == key_id))


async def key_of_request(db: Connection, request: str) -> str | None:
    """Return the id of the key that a request made before, or None."""
    return await db.scalar(sa.select(api_keys.c.id).where(api_keys.c.request == request))


async def keys(db: Connection, after: tuple[str, str], most: int) -> list[Row]:
    """Return so many of the tenant's keys, oldest first, beyond a time and an id."""
    at, key_id = after
    beyond = sa.or_(api_keys.c.created_at > at, sa.and_(api_keys.c.created_at == at, api_keys.c.id > key_id))
    return await db.execute(
        sa.select(api_keys).where(beyond).order_by(api_keys.c.created_at, api_keys.c.id).limit(most)
    )


async def revoke(db: Connection, key_id: str, at: str) -> None:
    """Revoke a key; one that is revoked already stays as it is."""
    await db.execute(
        sa.update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=at)
    )


async def note_used(db: Connection, key_id: str, at: str) -> None:
    """Note when a key was last used."""
    await db.execute(sa.update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))


async def drop_keys(db: Connection) -> None:
    """Drop the keys that a tenant's unfinished making left behind."""
    await db.execute(sa.delete(api_keys))


async def count_good(db: Connection, now: str) -> int:
    """Return how many keys are neither revoked nor expired; `now` is UTC, ISO 8601."""
    return int(await db.scalar(sa.select(sa.func.count()).where(~_dead(now))))


async def drop_old(db: Connection, now: str, kept: int) -> list[str]:
    """Drop the oldest keys that are good no more, once there are a tenth more than are kept, and return their ids."""
    dead = int(await db.scalar(sa.select(sa.func.count()).where(_dead(now))))
    if dead <= kept + kept // 10:
        return []
    oldest = sa.select(api_keys.c.id).where(_dead(now)).order_by(api_keys.c.created_at, api_keys.c.id)
    ids = [row.id for row in await db.execute(oldest.limit(dead - kept))]
    await db.execute(sa.delete(api_keys).where(api_keys.c.id.in_(ids)))
    return ids


async def drop_lookups(system: Connection, owner: str, ids: list[str]) -> None:
    """Forget in `_system` whose some keys were."""
    await system.execute(sa.delete(key_lookup).where(key_lookup.c.owner == owner, key_lookup.c.key_id.in_(ids)))


def _dead(now: str) -> sa.ColumnElement[bool]:
    expired = sa.and_(api_keys.c.expires_at.is_not(None), api_keys.c.expires_at <= now)
    return sa.or_(api_keys.c.revoked_at.is_not(None), expired)
