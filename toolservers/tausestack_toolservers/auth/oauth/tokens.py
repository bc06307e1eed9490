"""Access tokens as clients get them, ask about them and give them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tausestack.access_tokens import (
    LOCAL,
    SECONDS,
    AccessToken,
    AccessTokenSigner,
    AccessTokenVerifier,
    Resource,
    published,
)
from tausestack.contract import Principal
from tausestack.errors import Unauthenticated
from tausestack.scopes import OWN, covers, within
from tausestack_toolservers.auth import domain
from tausestack_toolservers.auth.keyring import Keyring
from tausestack_toolservers.auth.oauth.errors import OAuthError
from tausestack_toolservers.auth.oauth.grants import Check, Grant, Grants, new_id, tenant_of
from tausestack_toolservers.auth.oauth.requests import IDENTITY_SCOPES, resource_of
from tausestack_toolservers.auth.users import Users

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 a type's name
_JWT = "urn:ietf:params:oauth:token-type:jwt"


@dataclass(frozen=True)
class Issued:
    """What the token endpoint answers, and who it is for."""

    body: dict[str, Any]
    subject: str


class Tokens:
    """Gives out access tokens for grants, for keys, and for other access tokens."""

    def __init__(self, *, keyring: Keyring, users: Users, grants: Grants, clock: Callable[[], float]) -> None:
        self._keys: tuple[bytes, ...] = ()
        self._verifier = AccessTokenVerifier({"keys": []})
        self._keyring = keyring
        self._users = users
        self._grants = grants
        self._clock = clock

    def take(self, keys: Sequence[bytes]) -> None:
        """Sign by the first of some keys from now on, and believe what each signed."""
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            self._signer = AccessTokenSigner(keys[0], clock=self._clock)
            self._verifier = AccessTokenVerifier(published(keys), clock=self._clock)

    async def answer(self, tenant: str, given: dict[str, str], caller: Principal | None, base: str) -> Issued:
        """Answer a token request, or raise `OAuthError`; `caller` is the key that the client proved to hold."""
        kind = given.get("grant_type")
        if kind == "authorization_code":
            return await self._code(tenant, given, _public(given, caller), base)
        if kind == "refresh_token":
            return await self._refresh(tenant, given, _public(given, caller), base)
        if kind not in {"client_credentials", EXCHANGE}:
            raise OAuthError("unsupported_grant_type", "This grant type is not served")
        if caller is None:
            raise OAuthError("invalid_client", "The client has to prove itself by an API key", 401)
        if kind == EXCHANGE:
            return await self._exchange(tenant, given, caller, base)
        return await self._for_key(tenant, given, caller, base)

    async def for_user(self, tenant: str, user: dict[str, Any], client: str, scopes: frozenset[str] | None) -> Issued:
        """Return an access token for who has just signed in by a tool, of the stack's own issuer."""
        held = frozenset(domain.scopes_of(user["roles"], user["scopes"]))
        wanted = held if scopes is None else within([held, scopes])
        return await self._issued(LOCAL, Resource(tenant), f"user:{user['id']}", client, wanted, new_id())

    async def active(self, tenant: str, text: str, base: str | None = None) -> AccessToken | None:
        """Return what a token of this tenant says, or None where it is not good now (at one address, or anywhere)."""
        try:
            token = self._verifier.verify(text)
        except Unauthenticated:
            return None
        if token.issuer not in {base or token.issuer, LOCAL} or token.resource.tenant != tenant:
            return None
        about = await self._keyring.tenant(tenant)
        if about is None or token.incarnation != about["incarnation"]:
            return None
        if await self._grants.ended(tenant, {token.grant, token.id}):
            return None
        held = [await self.holds(tenant, who) for who in (token.subject, token.actor) if who is not None]
        return None if None in held else token

    async def holds(self, tenant: str, subject: str) -> frozenset[str] | None:
        """Return what a user or a key may do now, or None for one that may do nothing any more."""
        kind, _, name = subject.partition(":")
        if kind == "key":
            key = await self._keyring.alive(tenant, name)
            return None if key is None else frozenset(key["scopes"])
        user = await self._users.one(tenant, name) if kind == "user" else None
        return None if user is None else frozenset(domain.scopes_of(user["roles"], user["scopes"]))

    async def introspect(self, tenant: str, text: str, base: str) -> dict[str, Any]:
        """Return what RFC 7662 has about a token of this tenant; `{"active": false}` for every other."""
        if tenant_of(text) == tenant:
            grant = await self._grants.of_refresh(tenant, text)
            if grant is None or await self._users.one(tenant, grant.user) is None:
                return {"active": False}
            about: dict[str, Any] = {"client_id": grant.client, "sub": f"user:{grant.user}", "exp": grant.expires}
            return {"active": True, "scope": " ".join(sorted(grant.scopes)), **about, "iss": base}
        token = await self.active(tenant, text, base)
        if token is None:
            return {"active": False}
        return {
            "active": True,
            "token_type": "Bearer",
            "scope": " ".join(sorted(token.scopes)),
            "client_id": token.client,
            "sub": token.subject,
            "username": token.subject.partition(":")[2],
            "aud": token.audience,
            "iss": token.issuer,
            "exp": token.expires,
            "jti": token.id,
            **({} if token.actor is None else {"act": {"sub": token.actor}}),
        }

    async def revoke(self, tenant: str, text: str, client: str, base: str) -> str | None:
        """End what a token stands for and return its subject; None where it is unknown, or another client's."""
        if tenant_of(text) == tenant:
            grant = await self._grants.of_refresh(tenant, text)
            if grant is None or grant.client != client:
                return None
            await self._grants.end(tenant, grant.id)
            return f"user:{grant.user}"
        token = await self.active(tenant, text, base)
        if token is None or token.client != client:
            return None
        await self._grants.end(tenant, token.id if token.actor is not None else token.grant)
        return token.subject

    async def _code(self, tenant: str, given: dict[str, str], client: str, base: str) -> Issued:
        grant = await self._grants.redeem(
            tenant,
            _needed(given, "code"),
            client=client,
            redirect_uri=_needed(given, "redirect_uri"),
            verifier=_needed(given, "code_verifier"),
            check=_fits(tenant, given, base),
        )
        return await self._for_grant(tenant, given, grant, base)

    async def _refresh(self, tenant: str, given: dict[str, str], client: str, base: str) -> Issued:
        token, check = _needed(given, "refresh_token"), _fits(tenant, given, base)
        grant = await self._grants.refresh(tenant, token, client=client, check=check)
        return await self._for_grant(tenant, given, grant, base)

    async def _for_grant(self, tenant: str, given: dict[str, str], grant: Grant, base: str) -> Issued:
        subject = f"user:{grant.user}"
        held = await self.holds(tenant, subject)
        if held is None:
            raise OAuthError("invalid_grant", "The person may not sign in any more")
        scopes = within([_asked(given, grant.scopes), held])
        issued = await self._issued(base, grant.resource, subject, grant.client, scopes, grant.id)
        return Issued({**issued.body, "refresh_token": grant.refresh}, subject)

    async def _for_key(self, tenant: str, given: dict[str, str], caller: Principal, base: str) -> Issued:
        resource = resource_of(given.get("resource", base + Resource(tenant).path), base, tenant)
        client = caller.id.removeprefix("key:")
        return await self._issued(base, resource, caller.id, client, _asked(given, caller.scopes - OWN), new_id())

    async def _exchange(self, tenant: str, given: dict[str, str], caller: Principal, base: str) -> Issued:
        """Give a token that acts as another's subject, within what both that one and the client may do."""
        if given.get("subject_token_type") not in {ACCESS_TOKEN, _JWT} or "actor_token" in given:
            raise OAuthError("invalid_request", "Only an access token of ours is exchanged, by a client for itself")
        if given.get("requested_token_type", ACCESS_TOKEN) not in {ACCESS_TOKEN, _JWT}:
            raise OAuthError("invalid_request", "Only access tokens are given out")
        if "audience" in given:
            raise OAuthError("invalid_target", "Name the target by resource")
        token = await self.active(tenant, _needed(given, "subject_token"), base)
        if token is None:
            raise OAuthError("invalid_request", "The subject_token is not good here")
        resource = resource_of(given["resource"], base, tenant) if "resource" in given else token.resource
        if token.resource.server is not None and resource != token.resource:
            raise OAuthError("invalid_target", "The subject_token is for one server alone")
        limits = [caller.scopes - OWN, *([] if token.bounds is None else [token.bounds])]
        client = caller.id.removeprefix("key:")
        issued = await self._issued(
            base, resource, token.subject, client, _asked(given, token.scopes), token.grant,
            actor=caller.id, bounds=within(limits), until=token.expires, incarnation=token.incarnation,
        )  # fmt: skip
        return Issued({**issued.body, "issued_token_type": ACCESS_TOKEN}, token.subject)

    async def _issued(
        self, issuer: str, resource: Resource, subject: str, client: str, scopes: frozenset[str], grant: str, *,
        actor: str | None = None, bounds: frozenset[str] | None = None, until: int | None = None,
        incarnation: str | None = None,
    ) -> Issued:  # fmt: skip
        now = int(self._clock())
        expires = now + SECONDS if until is None else min(until, now + SECONDS)
        if incarnation is None:
            about = await self._keyring.tenant(resource.tenant)
            if about is None:
                raise OAuthError("invalid_grant", "There is nobody that this is for any more")
            incarnation = str(about["incarnation"])
        token = AccessToken(
            issuer, resource, subject, client, scopes, grant, new_id(), expires, actor, bounds, incarnation
        )
        body = {
            "access_token": self._signer.sign(token),
            "token_type": "Bearer",
            "expires_in": expires - now,
            "scope": " ".join(sorted(scopes)),
        }
        return Issued(body, subject)


def _fits(tenant: str, given: dict[str, str], base: str) -> Check:
    """Return the check that a grant is for the resource and the scopes that are asked for, if any are."""

    def check(grant: Grant) -> None:
        if "resource" in given and resource_of(given["resource"], base, tenant) != grant.resource:
            raise OAuthError("invalid_target", "The grant is for another resource")
        _asked(given, grant.scopes)

    return check


def _asked(given: dict[str, str], held: frozenset[str]) -> frozenset[str]:
    """Return the scopes that are asked for out of those that are held, or raise `OAuthError`; all, where none is."""
    asked = frozenset(given.get("scope", "").split()) - IDENTITY_SCOPES
    if not all(covers(held, scope) for scope in asked):
        raise OAuthError("invalid_scope", "A scope is more than there is to give")
    return asked or held


def _public(given: dict[str, str], caller: Principal | None) -> str:
    if caller is not None:
        raise OAuthError("unauthorized_client", "A key has no codes and no refresh tokens")
    client = given.get("client_id")
    if not client:
        raise OAuthError("invalid_client", "client_id is missing", 401)
    return client


def _needed(given: dict[str, str], name: str) -> str:
    if not given.get(name):
        raise OAuthError("invalid_request", f"{name} is missing")
    return given[name]
