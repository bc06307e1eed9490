"""Taking access tokens: each is verified once, and looked up from then on, as of its tenant's epoch."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tausestack.access_tokens import AccessToken, AccessTokenVerifier, Resource, published
from tausestack.contract import Principal
from tausestack.errors import NotFound, Unauthenticated
from tausestack.scopes import within
from tausestack.tenancy import cache_key
from tausestack_runtime.gateway.oauth.bases import Bases
from tausestack_runtime.gateway.snapshots import Holder, Snapshots, TenantSnapshot
from tausestack_runtime.keys import Keys

KEPT = 8192

V = TypeVar("V")


class PublishedKeys:
    """The public keys that the auth service signs access tokens with, under every master that holds."""

    def __init__(self, masters: Callable[[], tuple[Keys, ...]], name: str) -> None:
        """`name` is what its own keys are derived by."""
        self._masters = masters
        self._name = name
        self._of: tuple[Keys, ...] = ()
        self._jwks: dict[str, Any] = {"keys": []}

    def jwks(self) -> dict[str, Any]:
        """Return the key set of now, the same object as long as it is the same."""
        live = self._masters()
        if live != self._of:
            self._of, self._jwks = live, published(master.subkey(self._name) for master in live)
        return self._jwks


class AccessTokens:
    """Turns access tokens into principals.

    A token dies with the person or the key that it acts for, with its grant, and with whoever exchanged another for it:
    all of that is known as of the tenant's snapshot.
    """

    def __init__(self, jwks: Callable[[], Mapping[str, Any]], bases: Bases, snapshots: Snapshots) -> None:
        """`jwks` returns the keys that the auth service signs with now."""
        self._jwks = jwks
        self._bases = bases
        self._snapshots = snapshots
        self._believed = jwks()
        self._verified: OrderedDict[str, AccessToken] = OrderedDict()
        self._principals: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    async def principal(self, credential: str, hashed: str) -> tuple[Principal, Resource]:
        """Return who acts by a token, and what it is for; `hashed` is its SHA-256.

        Raises `Unauthenticated` for one that is not good now.
        """
        jwks = self._jwks()
        if jwks is not self._believed:
            if jwks != self._believed:
                self._verified.clear()  # what a key vouched for that is gone holds no longer
            self._believed = jwks
        token = self._verified.get(hashed)
        if token is None:
            token = AccessTokenVerifier(jwks).verify(credential)
            if not self._bases.owns(token.issuer):
                raise Unauthenticated("The access token is from another issuer")
            _keep(self._verified, hashed, token)
        try:
            snapshot = await self._snapshots.tenant(token.resource.tenant)
        except NotFound as error:
            raise Unauthenticated("The access token is good no more") from error
        key, now = cache_key(snapshot.tenant, token.subject, snapshot.epoch, hashed), time.time()
        known = self._principals.get(key)
        if known is None or known[1] <= now:
            who = await self._snapshots.holder(snapshot, token.subject)
            actor = None if token.actor is None else await self._snapshots.holder(snapshot, token.actor)
            if await self._snapshots.ended(snapshot.tenant, frozenset({token.grant, token.id})):
                who = None
            known = _acting(token, snapshot, who, actor, now)
            _keep(self._principals, key, known)
        return known[0], token.resource


def _acting(
    token: AccessToken, snapshot: TenantSnapshot, who: Holder | None, actor: Holder | None, now: float
) -> tuple[Principal, float]:
    """Return who acts by a token of somebody, or of an actor for them, and until when, or raise `Unauthenticated`."""
    if who is None or token.expires <= now:
        raise Unauthenticated("The access token is good no more")
    if token.incarnation != snapshot.incarnation:
        raise Unauthenticated("The access token is good no more")
    if token.actor is not None and actor is None:
        raise Unauthenticated("The access token is good no more")
    bounds = token.bounds if actor is None else within([actor.scopes, token.bounds or frozenset[str]()])
    principal = Principal(
        tenant=snapshot.tenant,
        id=token.subject,
        scopes=within([token.scopes, who.scopes]),
        role=who.role,
        bounds=bounds,
        incarnation=snapshot.incarnation,
    )
    return principal, min(float(token.expires), *(one.until for one in (who, actor) if one is not None))


def _keep(kept: OrderedDict[str, V], key: str, value: V) -> None:
    kept[key] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
