"""An OIDC issuer of the operator's choice: its tokens name a tenant, a person and roles, in claims that are mapped."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tausestack.access_tokens import Resource, part, scopes_of
from tausestack.contract import Principal
from tausestack.errors import NotFound, Unauthenticated, Unavailable
from tausestack.names import SYSTEM_TENANT, external_user, is_tenant
from tausestack.raw import as_array, objects_in
from tausestack.scopes import ROLES, is_grantable, within
from tausestack.tenancy import cache_key
from tausestack_runtime.gateway.oauth.bases import Bases
from tausestack_runtime.gateway.oauth.fetching import Fetching
from tausestack_runtime.gateway.snapshots import Snapshots, SystemCall

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
)  # fmt: skip
"""Asymmetric ones alone: a public key is no secret, and so can't be taken for one."""
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""What a header may say that the token is, in lower case; one that says nothing may be an access token."""
_KINDS: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
MAX_TOKEN = 8192
MAX_BYTES = 256 * 1024
SKEW_SECONDS = 30
KEPT_SECONDS = 3600.0
AGAIN_SECONDS = 10.0
"""How soon the keys are fetched again for a key that is not among them: how a rotation is noticed."""
KEPT = 8192


@dataclass(frozen=True)
class Mapping:
    """What the operator says of the issuer: who it is, and which claims say what."""

    issuer: str
    audience: str | None
    tenant: str
    roles: str


@dataclass(frozen=True)
class _Said:
    tenant: str
    subject: str
    name: str
    roles: tuple[str, ...]
    scopes: frozenset[str] | None
    resource: Resource
    expires: float
    issued: float
    verified: float
    """When, by the clock that runs on: its key is asked for again as often as any."""

    def user(self, issuer: str) -> str:
        return external_user(issuer, self.subject)


class ExternalIssuer:
    """Takes the tokens of one OIDC issuer.

    A person that it speaks of becomes a user of the tenant, whom an admin can disable like every other; roles are as
    the issuer last said.
    """

    def __init__(
        self, mapping: Mapping, *, fetching: Fetching, bases: Bases, snapshots: Snapshots, system: SystemCall
    ) -> None:
        self.issuer = mapping.issuer
        self._mapping = mapping
        self._fetching = fetching
        self._bases = bases
        self._snapshots = snapshots
        self._system = system
        self._keys: dict[str, RSAKey | ECKey | OKPKey] = {}
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()
        self._verified: OrderedDict[str, _Said] = OrderedDict()
        self._principals: OrderedDict[str, Principal] = OrderedDict()

    async def principal(self, token: str, hashed: str) -> tuple[Principal, Resource]:
        """Return who acts by a token, and what it is for; raises `Unauthenticated` for one that is not good now."""
        said = self._verified.get(hashed)
        if said is None or time.monotonic() - said.verified > KEPT_SECONDS:
            said = self._read(await self._claims(token))
            self._verified[hashed] = said
            _bound(self._verified)
        if said.expires <= time.time():
            raise Unauthenticated("The token has expired")
        try:
            return await self._acting(said, hashed), said.resource
        except NotFound as error:
            raise Unauthenticated("The token names no tenant") from error

    async def _acting(self, said: _Said, hashed: str) -> Principal:
        user, role = said.user(self.issuer), ",".join(said.roles)
        snapshot = await self._snapshots.tenant(said.tenant)
        # An issuer knows a tenant by its id alone: that there was another of it before only the times tell.
        if said.issued < int(datetime.fromisoformat(snapshot.created_at).timestamp()):
            raise Unauthenticated("The token is from before its tenant was made: sign in anew")
        key = cache_key(said.tenant, user, snapshot.epoch, hashed)
        known = self._principals.get(key)
        if known is not None:
            return known
        holder = await self._snapshots.holder(snapshot, f"user:{user}")
        if holder is None or holder.role != role:
            about = {"tenant": said.tenant, "issuer": self.issuer, "subject": said.subject, "name": said.name}
            more = {"roles": list(said.roles), "most": snapshot.limits.amounts.get("users")}
            await self._system("auth", "external_user", SYSTEM_TENANT, {**about, **more})
            self._snapshots.expire()
            holder = await self._snapshots.holder(await self._snapshots.tenant(said.tenant), f"user:{user}")
        if holder is None:
            raise Unauthenticated("This person was disabled here")
        scopes = within([holder.scopes, *([] if said.scopes is None else [said.scopes])])
        found = Principal(said.tenant, f"user:{user}", scopes, role=role, incarnation=snapshot.incarnation)
        self._principals[key] = found
        _bound(self._principals)
        return found

    async def _claims(self, token: str) -> dict[str, Any]:
        header = part(token, 0, MAX_TOKEN)
        algorithm, kind = header.get("alg"), header.get("typ", "JWT")
        if algorithm not in ALGORITHMS or not isinstance(kind, str) or kind.lower() not in TYPES:
            raise Unauthenticated("This is no access token of the issuer's")
        key = await self._key(header.get("kid"))
        try:
            jws.deserialize_compact(token, key, algorithms=[str(algorithm)])
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated("The token's signature is not good") from error
        return part(token, 1, MAX_TOKEN)

    async def _key(self, kid: Any) -> RSAKey | ECKey | OKPKey:
        """Return the issuer's key of a name; one that is not known has the keys fetched again, now and then."""
        if not isinstance(kid, str):
            raise Unauthenticated("The token's key is none of the issuer's")
        async with self._lock:
            age = time.monotonic() - self._fetched
            if age > KEPT_SECONDS or (kid not in self._keys and age > AGAIN_SECONDS):
                # Where they can't be had, those that are known serve on, and it is tried again soon.
                self._fetched = time.monotonic() - KEPT_SECONDS + AGAIN_SECONDS
                keys = await self._published()
                self._fetched = time.monotonic()
                if keys.keys() != self._keys.keys():
                    self._verified.clear()  # what a key vouched for that is gone holds no longer
                self._keys = keys
        found = self._keys.get(kid)
        if found is None:
            raise Unauthenticated("The token's key is none of the issuer's")
        return found

    async def _published(self) -> dict[str, RSAKey | ECKey | OKPKey]:
        about = await self._fetching.get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", MAX_BYTES)
        if about.value.get("issuer") != self.issuer:
            raise Unavailable("The issuer's metadata is another's")
        where = str(about.value.get("jwks_uri"))
        if self.issuer.startswith("https:") and not where.startswith("https:"):
            raise Unavailable("The issuer's keys are not behind TLS")
        found = await self._fetching.get(where, MAX_BYTES)
        return dict(filter(None, map(_imported, objects_in(found.value.get("keys")))))

    def _read(self, claims: dict[str, Any]) -> _Said:
        now, expires = time.time(), claims.get("exp")
        if claims.get("iss") != self.issuer or not isinstance(expires, int | float) or expires <= now:
            raise Unauthenticated("The token has expired, or is another issuer's")
        issued: Any = claims.get("iat")  # without it nobody knew whether its tenant is the one that was there then
        for at in (issued, claims.get("nbf", issued)):
            if not isinstance(at, int | float) or not at <= now + SKEW_SECONDS:
                raise Unauthenticated("The token is from the future, or from nobody knows when")
        tenant, subject = claims.get(self._mapping.tenant), claims.get("sub")
        if not isinstance(tenant, str) or not is_tenant(tenant) or not isinstance(subject, str) or not subject:
            raise Unauthenticated("The token names no tenant, or nobody")
        roles = _words(claims.get(self._mapping.roles))
        held = tuple(role for role in ROLES if role in roles)
        if not held:
            raise Unauthenticated("The token names no role that there is here")
        resource = self._resource(_words(claims.get("aud")), tenant)
        asked = frozenset(scope for scope in scopes_of(claims.get("scope")) if is_grantable(scope))
        name = str(claims.get("name") or claims.get("preferred_username") or subject)[:120]
        known = time.monotonic()
        return _Said(tenant, subject, name, held, asked or None, resource, float(expires), float(issued), known)

    def _resource(self, audiences: Sequence[str], tenant: str) -> Resource:
        """Return what a token is for: all of its tenant by the operator's name for this stack, or an endpoint."""
        if self._mapping.audience is not None and self._mapping.audience in audiences:
            return Resource(tenant)
        for audience in audiences:
            base, slash, rest = audience.partition("/tenants/")
            found = Resource.of(slash + rest)
            if found is not None and found.tenant == tenant and self._bases.owns(base):
                return found
        raise Unauthenticated("The token is for another audience")


def _imported(key: dict[str, Any]) -> tuple[str, RSAKey | ECKey | OKPKey] | None:
    kind, kid = _KINDS.get(str(key.get("kty"))), key.get("kid")
    if kind is None or not isinstance(kid, str) or key.get("use", "sig") != "sig":
        return None
    try:
        return kid, kind.import_key(key)
    except (JoseError, ValueError, TypeError, KeyError):
        return None  # of a kind that is not known here: tokens by it are refused


def _words(value: Any) -> list[str]:
    found = [value] if isinstance(value, str) else as_array(value) or []
    return [each for each in found if isinstance(each, str)]


def _bound(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > KEPT:
        kept.popitem(last=False)
