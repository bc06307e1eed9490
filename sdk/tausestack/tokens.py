"""Signed tokens of the house: assertions to servers, delegations to agents' runs.

Both are JWTs signed with Ed25519 by the gateway. An assertion (audience `server:<name>`) lives 60 s and is all that a
server accepts; a delegation (audience `gateway`) lets a run act for whoever started it, and lives 10 min.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from tausestack.contract import Principal
from tausestack.errors import Unauthenticated
from tausestack.raw import as_array

ALGORITHM = "Ed25519"
ISSUER = "tausestack"
ASSERTION_SECONDS = 60
DELEGATION_SECONDS = 600
GATEWAY_AUDIENCE = "gateway"
CLOCK_SKEW_SECONDS = 5

Clock = Callable[[], float]


def server_audience(server: str) -> str:
    """Return the audience of assertions for a server."""
    return f"server:{server}"


class Signer:
    """Signs tokens with one Ed25519 key."""

    def __init__(self, seed: bytes, *, clock: Clock = time.time) -> None:
        """Take the key's 32 bytes of seed."""
        private = base64.urlsafe_b64encode(seed).rstrip(b"=").decode()
        public = _public_half(seed)
        self._key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "d": private, "x": public})
        self._kid = self._key.thumbprint()
        self._clock = clock

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set with the public key alone."""
        public: dict[str, Any] = dict(self._key.as_dict(private=False))
        return {"keys": [{**public, "kid": self._kid, "use": "sig", "alg": ALGORITHM}]}

    def sign(self, principal: Principal, audience: str, seconds: int) -> str:
        """Return a token that says who acts, for an audience, for some seconds."""
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": audience,
            "sub": principal.id,
            "tenant": principal.tenant,
            "role": principal.role,
            "scopes": sorted(principal.scopes),
            "iat": now,
            "exp": now + seconds,
        }
        if principal.bounds is not None:
            claims["bounds"] = sorted(principal.bounds)
        if principal.agent is not None:
            claims["agent"] = principal.agent
        if principal.run is not None:
            claims["run"] = principal.run
        return jwt.encode({"alg": ALGORITHM, "kid": self._kid}, claims, self._key, algorithms=[ALGORITHM])


class Verifier:
    """Verifies tokens against a JSON Web Key Set, for one audience."""

    def __init__(self, jwks: Mapping[str, Any], audience: str, *, clock: Clock = time.time) -> None:
        keys = list(jwks["keys"])
        self._keys = KeySet.import_key_set({"keys": keys}) if keys else None
        self._audience = audience
        self._clock = clock

    def verify(self, token: str) -> tuple[Principal, float]:
        """Return who acts and until when (seconds since the epoch), or raise `Unauthenticated`.

        The reason is one sentence that names no key and no claim's value.
        """
        if self._keys is None:
            raise Unauthenticated("no signing key is known here: start the stack once, or set TAUSESTACK_JWKS")
        try:
            decoded = jwt.decode(token, self._keys, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated("the assertion's signature is not good") from error
        return self._checked(decoded.claims)

    def _checked(self, claims: Mapping[str, Any]) -> tuple[Principal, float]:
        now = self._clock()
        expires, issued = claims.get("exp"), claims.get("iat")
        if claims.get("iss") != ISSUER:
            raise Unauthenticated("the assertion is from another issuer")
        if claims.get("aud") != self._audience:
            raise Unauthenticated("the assertion is for another audience")
        if not isinstance(expires, int) or not isinstance(issued, int):
            raise Unauthenticated("the assertion has no times")
        if expires <= now:
            raise Unauthenticated("the assertion has expired")
        if issued > now + CLOCK_SKEW_SECONDS:
            raise Unauthenticated("the assertion is from the future")
        tenant, subject = claims.get("tenant"), claims.get("sub")
        if not isinstance(tenant, str) or not tenant or not isinstance(subject, str) or not subject:
            raise Unauthenticated("the assertion names no tenant")
        bounds = claims.get("bounds")
        principal = Principal(
            tenant=tenant,
            id=subject,
            scopes=_strings(claims.get("scopes")),
            role=str(claims.get("role", "")),
            agent=claims.get("agent"),
            run=claims.get("run"),
            bounds=None if bounds is None else _strings(bounds),
        )
        return principal, float(expires)


def _strings(value: Any) -> frozenset[str]:
    items = as_array(value)
    if items is None:
        raise Unauthenticated("the assertion has no scopes")
    return frozenset(str(item) for item in items)


def _public_half(seed: bytes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(public).rstrip(b"=").decode()
