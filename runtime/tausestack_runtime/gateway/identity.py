"""Who calls: a credential becomes a principal, or is refused."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from tausestack.access_tokens import issuer_of
from tausestack.contract import Principal
from tausestack.errors import NotFound, Unauthenticated
from tausestack.names import SYSTEM_TENANT
from tausestack.scopes import OPERATOR, ROLES, SYSTEM, within
from tausestack.tenancy import credential_hash
from tausestack.tokens import DELEGATION_SECONDS, GATEWAY_AUDIENCE, ISSUER, Signing, Verifier
from tausestack_runtime.gateway.call import Call, origin
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.installed import not_found
from tausestack_runtime.gateway.oauth.access import AccessTokens
from tausestack_runtime.gateway.oauth.external import ExternalIssuer
from tausestack_runtime.gateway.siblings import Siblings
from tausestack_runtime.gateway.snapshots import Holder, Key, Snapshots
from tausestack_runtime.gateway.uses import KeyUses
from tausestack_runtime.supervisor.control import ControlClient

MAX_CREDENTIAL = 8192
"""Characters of a credential; a longer one is refused unread."""

OPERATOR_ID = "operator"


class NotYours(NotFound):
    """A good credential asks for another tenant, or for one that is none: `asker` is whose it is."""

    def __init__(self, asker: Principal) -> None:
        super().__init__(not_found().message)
        self.asker = asker


class Credential(str):
    """A credential as it was shown."""

    @cached_property
    def hashed(self) -> str:
        """The SHA-256 of all of it, by which keys are known."""
        return credential_hash(self)


def bearer(authorization: str | None) -> Credential:
    """Return the credential of an `Authorization` header, or raise `Unauthenticated`."""
    if not authorization:
        raise Unauthenticated("No credential: send Authorization: Bearer <API key or access token>")
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer" or not credential.strip():
        raise Unauthenticated("The credential has to be sent as Authorization: Bearer <API key>")
    if len(credential) > MAX_CREDENTIAL:
        raise Unauthenticated("This is no credential of ours")
    return Credential(credential.strip())


def shown(head: Head) -> Credential:
    """Return the credential that a request shows, or raise `Unauthenticated`."""
    return bearer(head.text(b"authorization"))


class Identity:
    """Turns credentials into principals: API keys, the operator's key, delegations, and our own processes'."""

    def __init__(
        self,
        *,
        operator_key: str,
        signer: Signing,
        snapshots: Snapshots,
        control: ControlClient,
        in_flight: Mapping[str, Call],
        tokens: AccessTokens,
        uses: KeyUses,
        external: ExternalIssuer | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        """`in_flight` are the calls that are under way, by id: their servers may call on their behalf."""
        self._tokens = tokens
        self._uses = uses
        self._external = external
        self._operator_hash = credential_hash(operator_key)
        self._signer = signer
        self._delegations = Verifier(signer.jwks, GATEWAY_AUDIENCE)
        self._snapshots = snapshots
        self._control = control
        self._siblings = siblings
        self._in_flight = in_flight

    def at_hand(self, credential: Credential, tenant: str) -> Principal | None:
        """Return who a key belongs to where nobody has to be asked for it, as is most often so."""
        key = self._snapshots.key_at_hand(credential.hashed, tenant)
        return None if key is None else self._principal(key)

    async def principal(self, credential: Credential, tenant: str, server: str | None = None) -> Principal:
        """Return who a credential belongs to, for the tenant of the path, and one server's endpoint where it is that.

        Raises `Unauthenticated` for one that is not good, the one `NotFound` for one of another tenant, and
        `TenantSuspended` for one of this tenant while that is suspended.
        """
        hashed = credential.hashed
        if hmac.compare_digest(hashed, self._operator_hash):
            return Principal(tenant=tenant, id=OPERATOR_ID, scopes=frozenset({OPERATOR}), role=OPERATOR_ID)
        if credential.count(".") == 2:
            found = await self._token(credential, hashed, server)
        else:
            found = await self._key(hashed)
        if found.tenant != tenant:
            raise NotYours(found)
        if self._snapshots.at_hand(tenant) is None:
            await self._snapshots.tenant(tenant)
        return found

    async def client(self, name: str | None, secret: str) -> Principal:
        """Return the key that an OAuth client proves to hold: its id is the client's, all of it the secret."""
        found = await self._key(credential_hash(secret))
        if name is not None and found.id != f"key:{name}":
            raise Unauthenticated("This is no credential of that client's")
        return found

    async def process(self, credential: str) -> str:
        """Return the name of the process of ours that holds a credential, or raise `Unauthenticated`."""
        service = await self._control.identify(credential_hash(credential))
        if service is None:
            raise Unauthenticated("This is no credential of ours")
        return service

    async def own_process(self, credential: str, tenant: str) -> Principal:
        """Return the principal of a process of ours that acts on its own account, in `_system` and nowhere else."""
        service = await self.process(credential)
        if tenant != SYSTEM_TENANT:
            raise not_found()
        return Principal(tenant=SYSTEM_TENANT, id=f"service:{service}", scopes=frozenset({SYSTEM}))

    async def nested(self, assertion: str, parent_id: str, process: str | None, tenant: str) -> tuple[Principal, Call]:
        """Return who a server acts for in the course of a call, and that call.

        The server proves its part by the very assertion that it was given; its process credential adds the scope
        `system`. Raises `Elsewhere` where that call is another gateway's.
        """
        parent = self._in_flight.get(parent_id)
        if parent is None and self._siblings is not None:
            self._siblings.check_here(origin(parent_id))
        if parent is None or not hmac.compare_digest(parent.assertion.encode(), assertion.encode()):
            raise Unauthenticated("The call in whose course this one is made is not in flight")
        if parent.tenant != tenant:
            raise not_found()
        if process is None:
            return parent.principal, parent
        if await self.process(process) != parent.service:
            raise Unauthenticated("The call in whose course this one is made is another server's")
        return replace(parent.principal, scopes=parent.principal.scopes | {SYSTEM}, bounds=_widened(parent)), parent

    async def alive(self, tenant: str, principal_id: str) -> Principal | None:
        """Return the principal of a key, a person or the operator as of now, or None for one that may act no more."""
        snapshot = await self._snapshots.tenant(tenant)
        if principal_id == OPERATOR_ID:
            holder: Holder | None = Holder(ROLES["admin"], "admin")
        else:
            holder = await self._snapshots.holder(snapshot, principal_id)
        if holder is None:
            return None
        return Principal(tenant, principal_id, holder.scopes, role=holder.role, incarnation=snapshot.incarnation)

    def session(self, principal: Principal) -> dict[str, Any]:
        """Return a delegation to act as a principal: `{"token", "expires_in"}`, in seconds."""
        token = self._signer.sign(principal, GATEWAY_AUDIENCE, DELEGATION_SECONDS)
        return {"token": token, "expires_in": DELEGATION_SECONDS}

    async def _key(self, hashed: str) -> Principal:
        return self._principal(await self._snapshots.key(hashed))

    def _principal(self, key: Key | None) -> Principal:
        """Return who acts with a key that is used."""
        if key is None or not key.holds():
            raise Unauthenticated("This API key is unknown, revoked or expired")
        self._uses.note(key.tenant, key.id)
        return key.principal

    async def _token(self, token: str, hashed: str, server: str | None) -> Principal:
        """A token is judged by whoever it says that it is from."""
        issuer = issuer_of(token)
        if issuer == ISSUER:
            return await self._delegated(token)
        if self._external is not None and issuer == self._external.issuer:
            principal, resource = await self._external.principal(token, hashed)
        else:
            principal, resource = await self._tokens.principal(token, hashed)
        if resource.server is not None and resource.server != server:
            raise Unauthenticated("The access token is for another endpoint")
        return principal

    async def _delegated(self, token: str) -> Principal:
        """A delegation dies with whoever gave it, and with its tenant."""
        principal, _ = self._delegations.verify(token)
        try:
            giver = await self.alive(principal.tenant, principal.id)
        except NotFound:
            giver = None
        if giver is None or giver.incarnation != principal.incarnation:
            raise Unauthenticated("Whoever this run acts for was revoked")
        return replace(principal, scopes=within([principal.scopes, giver.scopes]))


def _widened(parent: Call) -> frozenset[str] | None:
    bounds = parent.principal.bounds
    return None if bounds is None else bounds | {SYSTEM}
