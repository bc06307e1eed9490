"""What people let clients do: codes, refresh tokens, and their end.

All that comes of one consent is one grant. A code and a refresh token are good once; who shows one again has stolen it,
or was stolen from, and ends the grant with everything that came of it. So does who can't prove that one is theirs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from tausestack.access_tokens import SECONDS, Resource
from tausestack.changes import ChangeFeed
from tausestack.database import Connection, Row, TenantDatabases
from tausestack.errors import InvalidArguments, RateLimited
from tausestack.raw import number_of
from tausestack.tenancy import credential_hash
from tausestack_toolservers.auth.oauth.errors import OAuthError
from tausestack_toolservers.auth.tables import codes, ended, grants, refresh_tokens

CODE_SECONDS = 60
REFRESH_SECONDS = 30 * 24 * 3600
"""How long a refresh token waits for its use; the grant lives as long as the last one."""
_ENDED_SECONDS = SECONDS + 60
MOST_GRANTS = 100
"""How many grants one person has; the oldest ends where there would be more."""
MOST_USED = 500
"""How many used refresh tokens of a grant are known, the newest ones: to show an older one again ends nothing."""
MOST_ENDED = 10_000
"""How many ends of a tenant's are kept before it may end no more single tokens; grants are ended all the same."""
CODE, REFRESH = "tsc", "tsr"
_ID_BYTES = 12


@dataclass(frozen=True)
class Consent:
    """What a person agreed to: this client, at this place, for this resource, may do that."""

    user: str
    client: str
    client_name: str
    redirect_uri: str
    challenge: str
    scopes: frozenset[str]
    resource: Resource


@dataclass(frozen=True)
class Grant:
    """A consent that stands, and the refresh token that was just made for it."""

    id: str
    user: str
    client: str
    scopes: frozenset[str]
    resource: Resource
    expires: int
    refresh: str = ""


Check = Callable[[Grant], None]
"""Raises `OAuthError` where a grant is not for what is asked."""


class Grants:
    """Every tenant's grants; an end is committed and then published before it is answered."""

    def __init__(self, databases: TenantDatabases, feed: ChangeFeed, clock: Callable[[], float]) -> None:
        self._databases = databases
        self._feed = feed
        self._clock = clock

    async def begin(self, tenant: str, consent: Consent) -> str:
        """Keep a consent and return the code that stands for it; where a person has too many, the oldest ends."""
        code, grant, now = _opaque(CODE, tenant), new_id(), self._now()
        made: dict[str, Any] = {
            "id": grant,
            "user": consent.user,
            "client": consent.client,
            "client_name": consent.client_name,
            "scopes": sorted(consent.scopes),
            "resource": consent.resource.path,
            "created_at": now,
            "expires_at": now + CODE_SECONDS,
        }
        about = {"redirect_uri": consent.redirect_uri, "challenge": consent.challenge, "used": False}
        async with self._databases.transaction(tenant) as db:
            await _sweep(db, now)
            earlier = sa.select(grants.c.id).where(grants.c.user == consent.user)
            rows = await db.execute(earlier.order_by(grants.c.created_at.desc(), grants.c.id).offset(MOST_GRANTS - 1))
            await self._end(db, [row.id for row in rows])
            await db.execute(sa.insert(grants).values(**made))
            values = {"hash": credential_hash(code), "grant": grant, "expires_at": now + CODE_SECONDS, **about}
            await db.execute(sa.insert(codes).values(**values))
        if rows:
            self._feed.touch(tenant)
        return code

    async def redeem(
        self, tenant: str, code: str, *, client: str, redirect_uri: str, verifier: str, check: Check
    ) -> Grant:
        """Return the grant that a code stands for, once, with its first refresh token; else raise `OAuthError`.

        What `check` raises leaves the code to be used; one that is shown without its proof is good no more.
        """
        text, proven = "The code is unknown, expired, used, or another client's", challenge_of(verifier).encode()
        async with self._databases.transaction(tenant) as db:
            row = await db.one(sa.select(codes).where(codes.c.hash == credential_hash(code)))
            grant = None if row is None else await _grant(db, row.grant)
            if row is None or grant is None or (not row.used and row.expires_at <= self._now()):
                raise OAuthError("invalid_grant", text)
            if not row.used:
                if not hmac.compare_digest(proven, row.challenge.encode()):
                    text = "The code_verifier does not fit the code_challenge: the code is good no more"
                elif (client, redirect_uri) == (grant.client, row.redirect_uri):
                    check(grant)
                    await db.execute(sa.update(codes).where(codes.c.hash == row.hash).values(used=True))
                    return await self._refreshed(db, tenant, grant)
            await self._end(db, [grant.id])
        self._feed.touch(tenant)
        noted = "code_replayed" if row.used else "code_unproven"
        raise OAuthError("invalid_grant", text, subject=f"user:{grant.user}", noted=noted)

    async def refresh(self, tenant: str, token: str, *, client: str, check: Check) -> Grant:
        """Return the grant of a refresh token, once, with its next one; else raise `OAuthError`, as `redeem` does."""
        text = "The refresh token is unknown, expired, used, or another client's"
        async with self._databases.transaction(tenant) as db:
            row, grant = await self._of_refresh(db, token)
            if row is None or grant is None or row.expires_at <= self._now():
                raise OAuthError("invalid_grant", text)
            if not row.used and grant.client == client:
                check(grant)
                used = sa.update(refresh_tokens).where(refresh_tokens.c.hash == row.hash).values(used=True)
                await db.execute(used)
                return await self._refreshed(db, tenant, grant)
            await self._end(db, [grant.id])
        self._feed.touch(tenant)
        noted = "refresh_token_replayed" if row.used else "refresh_token_unproven"
        raise OAuthError("invalid_grant", text, subject=f"user:{grant.user}", noted=noted)

    async def of_refresh(self, tenant: str, token: str) -> Grant | None:
        """Return the grant of a refresh token that is good now, without using it."""
        async with self._databases.reading(tenant) as db:
            row, grant = await self._of_refresh(db, token)
        return None if row is None or row.used or row.expires_at <= self._now() else grant

    async def listed(self, tenant: str, user: str | None, limit: int, cursor: str | None) -> dict[str, Any]:
        """Return a page of the grants that stand, newest first, of one user or of all, and the cursor of the next."""
        query = sa.select(grants).where(grants.c.expires_at > self._now())
        if user is not None:
            query = query.where(grants.c.user == user)
        if cursor is not None:
            at, _, after = cursor.partition("/")
            if number_of(at) is None:
                raise InvalidArguments("cursor is what an earlier page gave as next_cursor")
            made, same = grants.c.created_at, sa.and_(grants.c.created_at == int(at), grants.c.id > after)
            query = query.where(sa.or_(made < int(at), same))
        page = query.order_by(grants.c.created_at.desc(), grants.c.id).limit(limit + 1)
        async with self._databases.reading(tenant) as db:
            rows = await db.execute(page)
        shown = [dict(zip(grants.c.keys(), row, strict=True)) for row in rows[:limit]]
        following = f"{shown[-1]['created_at']}/{shown[-1]['id']}" if len(rows) > limit else None
        return {"grants": shown, "next_cursor": following}

    async def one(self, tenant: str, grant: str) -> Grant | None:
        """Return a grant that stands, or None."""
        async with self._databases.reading(tenant) as db:
            found = await _grant(db, grant)
        return None if found is None or found.expires <= self._now() else found

    async def end(self, tenant: str, grant: str) -> bool:
        """End a grant, or one access token by its id; return whether there was such a grant.

        Raises `OAuthError` for a token while so many have ended that one who makes and ends them is no client.
        """
        async with self._databases.transaction(tenant) as db:
            if await _grant(db, grant) is None:
                await self._check_ended(db)
            found = await self._end(db, [grant])
        self._feed.touch(tenant)
        return found > 0

    async def end_all_of(self, tenant: str, user: str) -> None:
        """End every grant of a user."""
        async with self._databases.transaction(tenant) as db:
            rows = await db.execute(sa.select(grants.c.id).where(grants.c.user == user))
            await self._end(db, [row.id for row in rows])
        self._feed.touch(tenant)

    async def ended(self, tenant: str, ids: Collection[str]) -> bool:
        """Return whether one of some grants and tokens ended while an access token of theirs may live."""
        query = sa.select(ended.c.id).where(ended.c.id.in_(ids), ended.c.at >= self._now() - _ENDED_SECONDS)
        async with self._databases.reading(tenant) as db:
            return await db.one(query.limit(1)) is not None

    def _now(self) -> int:
        return int(self._clock())

    async def _of_refresh(self, db: Connection, token: str) -> tuple[Row | None, Grant | None]:
        row = await db.one(sa.select(refresh_tokens).where(refresh_tokens.c.hash == credential_hash(token)))
        return row, None if row is None else await _grant(db, row.grant)

    async def _refreshed(self, db: Connection, tenant: str, grant: Grant) -> Grant:
        token, until = _opaque(REFRESH, tenant), self._now() + REFRESH_SECONDS
        values = {"hash": credential_hash(token), "grant": grant.id, "expires_at": until, "used": False}
        await db.execute(sa.insert(refresh_tokens).values(**values))
        used = sa.select(refresh_tokens.c.hash).where(refresh_tokens.c.grant == grant.id, refresh_tokens.c.used)
        old = await db.execute(used.order_by(refresh_tokens.c.expires_at.desc()).offset(MOST_USED))
        await db.execute(sa.delete(refresh_tokens).where(refresh_tokens.c.hash.in_([row.hash for row in old])))
        await db.execute(sa.update(grants).where(grants.c.id == grant.id).values(expires_at=until))
        return replace(grant, expires=until, refresh=token)

    async def _check_ended(self, db: Connection) -> None:
        since = self._now() - _ENDED_SECONDS
        if await db.scalar(sa.select(sa.func.count()).where(ended.c.at >= since)) >= MOST_ENDED:
            text = "So many tokens were revoked that no more are for some minutes, in which they expire"
            raise OAuthError("temporarily_unavailable", text, 503, noted=RateLimited.code)

    async def _end(self, db: Connection, ids: list[str]) -> int:
        now = self._now()
        await _sweep(db, now)
        for each in ids:
            if await db.scalar(sa.select(ended.c.id).where(ended.c.id == each)) is None:
                await db.execute(sa.insert(ended).values(id=each, at=now))
        return await _drop(db, ids)


def tenant_of(token: str) -> str | None:
    """Return whose a code or a refresh token says that it is."""
    kind, _, rest = token.partition("_")
    return rest.partition(".")[2] or None if kind in {CODE, REFRESH} else None


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def new_id() -> str:
    """Return an id that nobody guesses."""
    return secrets.token_hex(_ID_BYTES)


def _opaque(kind: str, tenant: str) -> str:
    return f"{kind}_{secrets.token_urlsafe(32)}.{tenant}"


async def _grant(db: Connection, grant: str) -> Grant | None:
    row = await db.one(sa.select(grants).where(grants.c.id == grant))
    resource = None if row is None else Resource.of(row.resource)
    if row is None or resource is None:
        return None
    return Grant(row.id, row.user, row.client, frozenset(row.scopes), resource, row.expires_at)


async def _drop(db: Connection, ids: list[str]) -> int:
    if not ids:
        return 0
    await db.execute(sa.delete(codes).where(codes.c.grant.in_(ids)))
    await db.execute(sa.delete(refresh_tokens).where(refresh_tokens.c.grant.in_(ids)))
    return await db.change(sa.delete(grants).where(grants.c.id.in_(ids)))


async def _sweep(db: Connection, now: int) -> None:
    """Drop what has expired, some at a time."""
    old = await db.execute(sa.select(grants.c.id).where(grants.c.expires_at <= now).limit(100))
    await _drop(db, [row.id for row in old])
    await db.execute(sa.delete(ended).where(ended.c.at < now - _ENDED_SECONDS))
