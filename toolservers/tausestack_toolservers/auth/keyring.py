"""Making, revoking and knowing keys, across `_system` and a tenant's own database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tausestack.changes import ChangeFeed
from tausestack.clock import place, placed, utc_now
from tausestack.contract import BillingPlan
from tausestack.database import Connection, Row, TenantDatabases
from tausestack.errors import Conflict, InvalidArguments, NotFound
from tausestack.names import SYSTEM_TENANT, check_tenant, is_tenant
from tausestack.scopes import Role
from tausestack_toolservers.auth import domain, store
from tausestack_toolservers.auth.tables import api_keys, tenants

KEPT_DEAD = 500
"""How many keys of a tenant that are good no more are kept to be shown, the newest ones."""


class Keyring:
    """Every tenant's keys; each change is committed and then published before it is answered.

    Nothing here is kept under an idempotency key with its result, because the result holds a secret: a repeated request
    is refused with the id of the key that it made.
    """

    def __init__(self, databases: TenantDatabases, feed: ChangeFeed) -> None:
        self._databases = databases
        self.feed = feed

    async def create_tenant(
        self, tenant: str, *, name: str | None, plan: BillingPlan, by: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make a tenant with an admin key and return both; `Conflict` where it is there already."""
        check_tenant(tenant)
        made = {"id": tenant, "name": name or tenant, "plan": plan, "status": domain.ACTIVE, "created_at": utc_now()}
        new, values = _new_key("admin", "first key", None, by, None)
        async with self._databases.transaction(SYSTEM_TENANT) as system:
            there = await store.tenant(system, tenant)
            if there is not None:
                raise Conflict(domain.why_not_free(tenant, there.status), status=there.status)
            await store.add_tenant(system, made)
            await store.add_lookup(system, new.hash, tenant, new.id)
            # Committed before the tenant is: a crash in between leaves a key that nothing leads to.
            async with self._databases.transaction(tenant) as db:
                await store.drop_keys(db)
                await store.add_key(db, values)
        self.feed.touch(tenant)
        return made, {**_public(values), "api_key": new.text}

    async def tenants(self) -> list[dict[str, Any]]:
        """Return every tenant by id."""
        async with self._databases.reading(SYSTEM_TENANT) as system:
            return [store.fields(tenants, row) for row in await store.all_tenants(system)]

    async def tenant(self, tenant: str) -> dict[str, Any] | None:
        """Return a tenant, or None."""
        if not is_tenant(tenant):
            return None
        async with self._databases.reading(SYSTEM_TENANT) as system:
            row = await store.tenant(system, tenant)
        return None if row is None else store.fields(tenants, row)

    async def change_settings(self, tenant: str, change: dict[str, Any]) -> dict[str, Any]:
        """Change a tenant's settings by a JSON merge patch and return them; `NotFound` where it is not there."""
        async with self._databases.transaction(SYSTEM_TENANT) as system:
            row = await store.tenant(system, tenant)
            if row is None:
                raise NotFound(f"There is no tenant '{tenant[:80]}'")
            settings = domain.merged(row.settings, change)
            await store.set_settings(system, tenant, settings)
        self.feed.touch(tenant)
        return settings

    async def change_status(self, tenant: str, status: str) -> dict[str, Any]:
        """Change whether a tenant is active, suspended or being deleted, and return it; from the last none comes back.

        Raises `NotFound` where there is none, `Conflict` where it is being deleted, or imported and not to be deleted.
        """
        async with self._databases.transaction(SYSTEM_TENANT) as system:
            row = await store.tenant(system, tenant)
            if row is None:
                raise NotFound(f"There is no tenant '{tenant[:80]}'")
            erasing = status == domain.DELETING and row.status == domain.IMPORTING
            if row.status not in {*domain.THERE, status} and not erasing:
                raise Conflict(domain.why_not_free(tenant, row.status), status=row.status)
            await store.set_status(system, tenant, status)
        self.feed.touch(tenant)
        return {**store.fields(tenants, row), "status": status}

    async def unfinished(self) -> list[str]:
        """Return the tenants whose deletion, or import, has begun and not ended."""
        return [one["id"] for one in await self.tenants() if one["status"] not in domain.THERE]

    async def strike(self, tenant: str) -> None:
        """Forget a tenant whose deletion has begun, once nothing else is left of it: its id may be used again."""
        async with self._databases.transaction(SYSTEM_TENANT) as system:
            await store.strike_tenant(system, tenant, domain.DELETING)
        await self._databases.settle(SYSTEM_TENANT)
        self.feed.touch(tenant)

    async def known(self, tenant: str) -> str:
        """Return the id of a tenant that is there, or raise `NotFound`; one that is being deleted is not."""
        found = await self.tenant(tenant)
        if found is None or found["status"] not in domain.THERE:
            raise NotFound(f"There is no tenant '{tenant[:80]}'")
        return tenant

    async def create_key(
        self, tenant: str, *, role: Role, name: str | None, days: int | None, by: str, request: str | None,
        scopes: list[str] | None = None, check: Callable[[int], None],
    ) -> dict[str, Any]:  # fmt: skip
        """Make a key of a tenant and return it with its text, which exists this once.

        `check` raises `RateLimited` where a tenant that has so many may have no more.
        """
        check(await self.count(tenant))  # before anything is left in `_system`
        new, values = _new_key(role, name or "", days, by, request, scopes)
        async with self._databases.transaction(SYSTEM_TENANT) as system:
            await store.add_lookup(system, new.hash, tenant, new.id)
        async with self._databases.transaction(tenant) as db:
            await _refuse_repeated(db, request)
            check(await store.count_good(db, utc_now()))
            await store.add_key(db, values)
            old = await store.drop_old(db, utc_now(), KEPT_DEAD)
        if old:
            async with self._databases.transaction(SYSTEM_TENANT) as system:
                await store.drop_lookups(system, tenant, old)
        self.feed.touch(tenant)
        return {**_public(values), "api_key": new.text}

    async def count(self, tenant: str) -> int:
        """Return how many keys of a tenant are good now."""
        async with self._databases.reading(tenant) as db:
            return await store.count_good(db, utc_now())

    async def keys(self, tenant: str, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return a page of a tenant's keys without their secrets, oldest first, and the cursor of the next."""
        after = ("", "") if cursor is None else placed(cursor)
        if after is None:
            raise InvalidArguments("cursor is what an earlier page gave as next_cursor")
        async with self._databases.reading(tenant) as db:
            rows = await store.keys(db, after, limit + 1)
        shown = [_public(store.fields(api_keys, row)) for row in rows[:limit]]
        following = place(shown[-1]["created_at"], shown[-1]["id"]) if len(rows) > limit else None
        return {"keys": shown, "next_cursor": following}

    async def revoke(self, tenant: str, key_id: str) -> dict[str, Any]:
        """Revoke a key and return it; `NotFound` where the tenant has no such key."""
        async with self._databases.transaction(tenant) as db:
            await store.revoke(db, key_id, utc_now())
            row = await store.key(db, key_id)
        if row is None:
            raise NotFound(f"There is no key '{key_id[:40]}'")
        self.feed.touch(tenant)
        return _public(store.fields(api_keys, row))

    async def alive(self, tenant: str, key_id: str) -> dict[str, Any] | None:
        """Return what a tenant's key may do, or None for one that is unknown, revoked or expired."""
        async with self._databases.reading(tenant) as db:
            row = await store.key(db, key_id)
        return None if row is None or not _alive(row) else _grant(row)

    async def used(self, tenant: str, keys: dict[str, str]) -> None:
        """Note when keys were last used, by id; that is nobody's business but their tenant's, and so not published."""
        async with self._databases.transaction(tenant) as db:
            for key_id, at in keys.items():
                await store.note_used(db, key_id, at)

    async def authenticate(self, key_hash: str) -> dict[str, Any] | None:
        """Return whose a key is and what it may do, or None for one that is unknown, revoked or expired."""
        async with self._databases.reading(SYSTEM_TENANT) as system:
            found = await store.lookup(system, key_hash)
            owner = None if found is None else await store.tenant(system, found.owner)
        if found is None or owner is None or owner.status not in domain.THERE:
            return None
        async with self._databases.reading(found.owner) as db:
            row = await store.key(db, found.key_id)
        if row is None or not _alive(row):
            return None
        return {"tenant": found.owner, "incarnation": owner.incarnation, **_grant(row)}

    async def snapshot(self, tenant: str) -> dict[str, Any] | None:
        """Return what is known of a tenant, whoever acts in it, or None where there is none."""
        found = await self.tenant(tenant)
        if found is None or found["status"] not in domain.THERE:
            return None
        return {
            "tenant": tenant,
            **{name: found[name] for name in ("status", "plan", "settings", "created_at", "incarnation")},
        }


async def _refuse_repeated(db: Connection, request: str | None) -> None:
    made = None if request is None else await store.key_of_request(db, request)
    if made is not None:
        raise Conflict(
            f"This request made the key {made} before, and its secret was shown then: revoke it and make another",
            key_id=made,
        )


def _new_key(
    role: Role, name: str, days: int | None, by: str, request: str | None, scopes: list[str] | None = None
) -> tuple[domain.NewKey, dict[str, Any]]:
    new = domain.new_key()
    values = {
        "id": new.id,
        "role": role,
        "name": name,
        "created_at": utc_now(),
        "created_by": by,
        "expires_at": domain.expiry(datetime.now(UTC), days),
        "revoked_at": None,
        "request": request,
        "scopes": scopes,
        "last_used_at": None,
    }
    return new, values


def _public(key: dict[str, Any]) -> dict[str, Any]:
    shown = ("id", "role", "name", "scopes", "created_at", "created_by", "expires_at", "revoked_at", "last_used_at")
    return {field: key[field] for field in shown}


def _grant(row: Row) -> dict[str, Any]:
    return {
        "key_id": row.id,
        "role": row.role,
        "scopes": domain.scopes_of([row.role], row.scopes),
        "expires_at": row.expires_at,
    }


def _alive(row: Row) -> bool:
    return domain.is_alive(datetime.now(UTC), row.revoked_at, row.expires_at)
