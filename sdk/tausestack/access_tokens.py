"""Access tokens: what the authorization server gives a client, and the gateway takes at a tenant's endpoint.

Each is a JWT as RFC 9068 has it (`typ` is `at+jwt`), signed with Ed25519 by a key of its own: no assertion or
delegation can stand in for one, nor the other way round. It says who may act where, for some minutes; whether they
still may is the gateway's to know.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tausestack.errors import Unauthenticated
from tausestack.names import is_server, is_tenant
from tausestack.raw import as_object

ALGORITHM = "Ed25519"
TYPE = "at+jwt"
SECONDS = 300
"""How long an access token lives."""
LOCAL = "tausestack:"
"""The issuer of tokens that a tool of `auth` gives out, which knows no address: good wherever the stack is reached."""
MAX_TOKEN = 4096
MAX_FOREIGN = 8192
"""Characters of a token of ours, and of one of another issuer's; longer ones are refused unread."""
MOST_SECONDS = SECONDS + 60
"""How far in the future an expiry may lie: what a key that was retired vouched for is soon forgotten everywhere."""

_HEADER = {"alg", "kid", "typ"}
_PATH = re.compile(r"/tenants/([^/]+)(?:/servers/([^/]+))?/mcp")


@dataclass(frozen=True)
class Resource:
    """What a token is for: a tenant's endpoint, or one server's."""

    tenant: str
    server: str | None = None

    @property
    def path(self) -> str:
        """The path of its MCP endpoint."""
        return (
            f"/tenants/{self.tenant}/mcp"
            if self.server is None
            else f"/tenants/{self.tenant}/servers/{self.server}/mcp"
        )

    @classmethod
    def of(cls, path: str) -> Resource | None:
        """Return the resource of a path, or None where it is none."""
        found = _PATH.fullmatch(path)
        if found is None or not is_tenant(found[1]) or (found[2] is not None and not is_server(found[2])):
            return None
        return cls(found[1], found[2])


@dataclass(frozen=True)
class AccessToken:
    """What an access token says; times are seconds since the epoch.

    `subject` is a principal's id (`user:…`, `key:…`); `grant` names the sign-in that it comes from, or its own `id`;
    `bounds` and `actor` are those of whoever exchanged another token for it; `incarnation` is which of the tenants that
    have had this id it is for.
    """

    issuer: str
    resource: Resource
    subject: str
    client: str
    scopes: frozenset[str]
    grant: str
    id: str
    expires: int
    actor: str | None = None
    bounds: frozenset[str] | None = None
    incarnation: str = ""

    @property
    def audience(self) -> str:
        """The URL that it is for."""
        return self.issuer + self.resource.path


def derived(key: bytes, name: str) -> bytes:
    """Return the 32 bytes of a key that one of the auth service's own has for a purpose."""
    return hmac.digest(key, f"tausestack/auth/{name}".encode(), "sha256")


class AccessTokenSigner:
    """Signs access tokens."""

    def __init__(self, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        """Take the auth service's own key, of 32 bytes, from which the signing key is derived."""
        self._key = private_key(derived(key, "access-tokens"))
        self._kid = self._key.thumbprint()
        self._clock = clock

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set with the public key alone."""
        public: dict[str, Any] = dict(self._key.as_dict(private=False))
        return {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": ALGORITHM}]}

    def sign(self, token: AccessToken) -> str:
        """Return the token's text."""
        claims: dict[str, Any] = {
            "iss": token.issuer,
            "aud": token.audience,
            "sub": token.subject,
            "client_id": token.client,
            "scope": " ".join(sorted(token.scopes)),
            "grant": token.grant,
            "jti": token.id,
            "iat": int(self._clock()),
            "exp": token.expires,
        }
        if token.actor is not None:
            claims["act"] = {"sub": token.actor}
        if token.bounds is not None:
            claims["bounds"] = " ".join(sorted(token.bounds))
        if token.incarnation:
            claims["incarnation"] = token.incarnation
        header = {"alg": ALGORITHM, "kid": self._kid, "typ": TYPE}
        return jws.serialize_compact(header, json.dumps(claims).encode(), self._key, algorithms=[ALGORITHM])


def published(keys: Iterable[bytes]) -> dict[str, Any]:
    """Return the JSON Web Key Set of access tokens by the auth service's own keys, the current one first."""
    return {"keys": [jwk for key in keys for jwk in AccessTokenSigner(key).jwks()["keys"]]}


class AccessTokenVerifier:
    """Verifies access tokens by the keys that are published."""

    def __init__(self, jwks: Mapping[str, Any], *, clock: Callable[[], float] = time.time) -> None:
        self._keys = {str(key["kid"]): public_key(key) for key in jwks["keys"]}
        self._clock = clock

    def verify(self, text: str) -> AccessToken:
        """Return what a token says, or raise `Unauthenticated` in one sentence that quotes nothing of it."""
        header = part(text, 0)
        key = self._keys.get(str(header.get("kid")))
        # Keys and addresses of keys that a token brings itself are no reason to trust it.
        if key is None or header.keys() - _HEADER or header.get("alg") != ALGORITHM or header.get("typ") != TYPE:
            raise Unauthenticated("This is no access token of ours")
        try:
            jws.deserialize_compact(text, key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthenticated("The access token's signature is not good") from error
        found = _read(part(text, 1))
        if found is None:
            raise Unauthenticated("This is no access token of ours")
        now = self._clock()
        if found.expires <= now:
            raise Unauthenticated("The access token has expired")
        if found.expires > now + MOST_SECONDS:
            raise Unauthenticated("The access token would live longer than any of ours")
        return found


def part(text: str, number: int, most: int = MAX_TOKEN) -> dict[str, Any]:
    """Return a JWT's header (0) or claims (1), unverified.

    Raises `Unauthenticated` where it is none, says a thing twice, or has more than `most` characters.
    """
    parts = text.split(".")
    if len(text) > most or len(parts) != 3:
        raise Unauthenticated("This is no token")
    try:
        raw = base64.b64decode(parts[number] + "=" * (-len(parts[number]) % 4), altchars=b"-_", validate=True)
        found = as_object(json.loads(raw, object_pairs_hook=_once))
    except (ValueError, RecursionError) as error:
        raise Unauthenticated("This is no token") from error
    if found is None:
        raise Unauthenticated("This is no token")
    return found


def issuer_of(text: str) -> str:
    """Return who a token says that it is from, unverified; empty where it does not say."""
    found = part(text, 1, MAX_FOREIGN).get("iss")
    return found if isinstance(found, str) else ""


def scopes_of(scope: Any) -> frozenset[str]:
    """Return the scopes of a space-separated list; none where it is no text."""
    return frozenset(scope.split()) if isinstance(scope, str) else frozenset()


def _read(claims: dict[str, Any]) -> AccessToken | None:
    words = [claims.get(name) for name in ("iss", "aud", "sub", "client_id", "grant", "jti")]
    expires, act = claims.get("exp"), as_object(claims.get("act"))
    if not all(isinstance(word, str) and word for word in words) or not isinstance(expires, int):
        return None
    issuer, audience, subject, client, grant, own = (str(word) for word in words)
    resource = Resource.of(audience.removeprefix(issuer)) if audience.startswith(issuer) else None
    if resource is None:
        return None
    actor = None if act is None else str(act.get("sub"))
    bounds = scopes_of(claims["bounds"]) if "bounds" in claims else None
    scopes, incarnation = scopes_of(claims.get("scope")), claims.get("incarnation", "")
    if not isinstance(incarnation, str):
        return None
    return AccessToken(issuer, resource, subject, client, scopes, grant, own, expires, actor, bounds, incarnation)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def private_key(seed: bytes) -> OKPKey:
    """Return the Ed25519 key of a seed of 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "d": _text(seed), "x": _text(public)})


def public_key(key: Mapping[str, Any]) -> OKPKey:
    """Return a public Ed25519 key by its JSON Web Key."""
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": str(key["x"])})


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
