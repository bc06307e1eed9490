"""A tenant's people: who they are, what they may do, whether a password is theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from tausestack.changes import ChangeFeed
from tausestack.clock import utc_now
from tausestack.database import Connection, Row, TenantDatabases
from tausestack.errors import Conflict, InvalidArguments, NotFound, ToolFailed
from tausestack.names import SYSTEM_TENANT, external_user
from tausestack_toolservers.auth import domain
from tausestack_toolservers.auth.passwords import Attempts, Passwords
from tausestack_toolservers.auth.store import fields
from tausestack_toolservers.auth.tables import users

Check = Callable[[int], None]
"""Raises `RateLimited` where a tenant that has so many of something may have no more."""


class WrongPassword(ToolFailed):
    """Nobody is known by this name and this password; the caller's own credential has nothing to do with it."""

    known = False
    """Whether there is such a name: the tenant is told of tries then; else what was typed may be a password."""


class Users:
    """Every tenant's people; each change is committed and then published before it is answered."""

    def __init__(self, databases: TenantDatabases, feed: ChangeFeed) -> None:
        self._databases = databases
        self._feed = feed
        self._passwords = Passwords()
        self.attempts = Attempts()

    async def create(
        self, tenant: str, user: str, *, name: str | None, roles: Sequence[str], scopes: Sequence[str] | None,
        password: str | None, by: str, check: Check,
    ) -> dict[str, Any]:  # fmt: skip
        """Make a user and return them; `Conflict` where there is one of that name."""
        check(await self.count(tenant))  # before the work of a hash
        values = _values(user, name or user, roles, scopes, by)
        values["password"] = None if password is None else await self._passwords.hash(tenant, password)
        async with self._databases.transaction(tenant) as db:
            if await _one(db, user) is not None:
                raise Conflict(f"There is a user '{user}' already")
            check(await _count(db))
            await db.execute(sa.insert(users).values(**values))
        self._feed.touch(tenant)
        return public(values)

    async def listed(self, tenant: str, after: str, limit: int) -> list[dict[str, Any]]:
        """Return so many of a tenant's users by id, those after an id, without their passwords."""
        query = sa.select(users).where(users.c.id > after).order_by(users.c.id).limit(limit)
        async with self._databases.reading(tenant) as db:
            return [public(fields(users, row)) for row in await db.execute(query)]

    async def one(self, tenant: str, user: str) -> dict[str, Any] | None:
        """Return a user who may act, or None."""
        async with self._databases.reading(tenant) as db:
            row = await _one(db, user)
        return None if row is None or row.disabled_at is not None else public(fields(users, row))

    async def change(self, tenant: str, user: str, **values: Any) -> dict[str, Any]:
        """Change a user and return them; `NotFound` where there is none."""
        async with self._databases.transaction(tenant) as db:
            await db.execute(sa.update(users).where(users.c.id == user).values(**values))
            row = await _one(db, user)
        if row is None:
            raise NotFound(f"There is no user '{user[:80]}'")
        self._feed.touch(tenant)
        return public(fields(users, row))

    async def known(self, tenant: str, user: str) -> dict[str, Any]:
        """Return a user, disabled or not, or raise `NotFound`."""
        row = await self._row(tenant, user)
        if row is None:
            raise NotFound(f"There is no user '{user[:80]}'")
        return public(fields(users, row))

    async def set_password(self, tenant: str, user: str, password: str) -> dict[str, Any]:
        """Give a user another password."""
        return await self.change(tenant, user, password=await self._passwords.hash(tenant, password))

    async def check(self, tenant: str, user: str, password: str, *, there: bool = True) -> dict[str, Any]:
        """Return the user whose password this is.

        Raises `WrongPassword` in one way for a wrong name, a wrong password and a user who is disabled, and
        `RateLimited` where too many were wrong. Nobody is a user of `_system`, nor of a tenant that is not `there`,
        whose wrong passwords are counted as any other's.
        """
        with self.attempts.trying(tenant, user):
            row = await self._row(tenant, user) if there and tenant != SYSTEM_TENANT else None
            kept = None if row is None or row.disabled_at is not None else row.password
            if not await self._passwords.is_right(tenant, kept, password) or row is None:
                self.attempts.failed(tenant, user)
                wrong = WrongPassword("The name or the password is wrong")
                wrong.known = row is not None
                raise wrong
            self.attempts.succeeded(tenant, user)
        async with self._databases.transaction(tenant) as db:
            await db.execute(sa.update(users).where(users.c.id == user).values(last_login_at=utc_now()))
        return public(fields(users, row))

    async def seen(
        self, tenant: str, issuer: str, subject: str, name: str, roles: Sequence[str], check: Check
    ) -> dict[str, Any]:
        """Return who an OIDC issuer speaks of, made where they are new, with the roles that it says they have."""
        user = external_user(issuer, subject)
        async with self._databases.reading(tenant) as db:
            row = await _one(db, user)
        if row is not None and row.roles == list(roles):
            return public(fields(users, row))
        values = {
            **_values(user, name, roles, None, f"issuer:{issuer}"),
            "external": f"{issuer}\n{subject}",
            "password": None,
        }
        async with self._databases.transaction(tenant) as db:
            row = await _one(db, user)
            if row is None:
                check(await _count(db))
                await db.execute(sa.insert(users).values(**values))
            else:
                await db.execute(sa.update(users).where(users.c.id == user).values(roles=list(roles)))
                values = {**fields(users, row), "roles": list(roles)}
        self._feed.touch(tenant)
        return public(values)

    async def may_act(self, tenant: str, user: str) -> dict[str, Any] | None:
        """Return what a user may do, or None for one that is unknown or disabled."""
        row = await self._row(tenant, user)
        if row is None or row.disabled_at is not None:
            return None
        return {"role": ",".join(row.roles), "scopes": domain.scopes_of(row.roles, row.scopes)}

    async def count(self, tenant: str) -> int:
        """Return how many users a tenant has, disabled ones too."""
        async with self._databases.reading(tenant) as db:
            return await _count(db)

    async def _row(self, tenant: str, user: str) -> Row | None:
        async with self._databases.reading(tenant) as db:
            return await _one(db, user)


def public(user: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of a user."""
    shown = ("id", "name", "roles", "scopes", "created_at", "created_by", "disabled_at", "last_login_at")
    return {**{field: user[field] for field in shown}, "external": user["external"] is not None}


def _values(user: str, name: str, roles: Sequence[str], scopes: Sequence[str] | None, by: str) -> dict[str, Any]:
    if not roles:
        raise InvalidArguments("A user has one role at least")
    return {
        "id": user,
        "name": name,
        "roles": list(roles),
        "scopes": None if scopes is None else list(scopes),
        "external": None,
        "created_at": utc_now(),
        "created_by": by,
        "disabled_at": None,
        "last_login_at": None,
    }


async def _count(db: Connection) -> int:
    return int(await db.scalar(sa.select(sa.func.count()).select_from(users)))


async def _one(db: Connection, user: str) -> Row | None:
    return await db.one(sa.select(users).where(users.c.id == user))
