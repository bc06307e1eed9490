"""Signed tokens of the house: assertions to servers, delegations to agents' runs.

Both are JWTs signed with Ed25519 by the gateway. An assertion (audience `server:<name>`) lives 60 s and is all that a
server accepts; a delegation (audience `gateway`) lets a run act for whoever started it, and lives 10 min. Each names
its key by `kid`; several keys hold at once while one takes over from another.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tausestack.contract import Principal
from tausestack.errors import Unauthenticated, Unavailable
from tausestack.raw import as_array, as_object, objects_in

ALGORITHM = "Ed25519"
ISSUER = "tausestack"
ASSERTION_SECONDS = 60
DELEGATION_SECONDS = 600
GATEWAY_AUDIENCE = "gateway"
CLOCK_SKEW_SECONDS = 5
MAX_TOKEN = 16_384
"""Characters of a token; a longer one is refused unread."""
RETIRES = "exp"
"""In a published key: when it ceases to hold, in seconds since the epoch; one without it holds until further notice."""

Clock = Callable[[], float]
Jwks = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
"""A JSON Web Key Set, or what returns the one that holds now: the same object as long as it is the same."""

_HEADER = {"alg", "kid", "typ"}
"""All that a header of ours says. Keys and addresses of keys that a token brings itself are no reason to trust it."""


def server_audience(server: str) -> str:
    """Return the audience of assertions for a server."""
    return f"server:{server}"


class Signing(Protocol):
    """Signs tokens, by one key or by the one whose turn it is."""

    @property
    def kid(self) -> str:
        """The name of the key that signs now."""
        ...

    def jwks(self) -> Mapping[str, Any]:
        """Return the public keys that hold now."""
        ...

    def sign(self, principal: Principal, audience: str, seconds: int) -> str:
        """Return a token that says who acts, for an audience, for some seconds."""
        ...


class Signer:
    """Signs tokens with one Ed25519 key."""

    def __init__(self, seed: bytes, *, clock: Clock = time.time) -> None:
        """Take the key's 32 bytes of seed."""
        private = base64.urlsafe_b64encode(seed).rstrip(b"=").decode()
        public = _public_half(seed)
        self._key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "d": private, "x": public})
        self._kid = self._key.thumbprint()
        self._clock = clock
        public_key: dict[str, Any] = dict(self._key.as_dict(private=False))
        self._jwks: dict[str, Any] = {"keys": [{**public_key, "kid": self.kid, "use": "sig", "alg": ALGORITHM}]}

    @property
    def kid(self) -> str:
        """The name of the key."""
        return self._kid

    def jwks(self) -> Mapping[str, Any]:
        """Return the JSON Web Key Set with the public key alone."""
        return self._jwks

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
        if principal.incarnation:
            claims["incarnation"] = principal.incarnation
        return jwt.encode({"alg": ALGORITHM, "kid": self.kid}, claims, self._key, algorithms=[ALGORITHM])


class JwksFile:
    """A JSON Web Key Set in a file, read again whenever another file stands in its place; none: no keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._found: Mapping[str, Any] = {"keys": []}

    def __call__(self) -> Mapping[str, Any]:
        """Return the keys that hold now, or raise `Unavailable` where the file holds none that can be read."""
        try:
            about = os.stat(self._path)  # noqa: PTH116 a microsecond, on the way of every call
        except FileNotFoundError:
            if self._seen is not None:
                self._seen, self._found = None, {"keys": []}
            return self._found
        seen = (about.st_ino, about.st_mtime_ns, about.st_size)
        if seen != self._seen:
            try:
                found = as_object(json.loads(self._path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                raise Unavailable("the published signing keys can't be read") from error
            if found is None or as_array(found.get("keys")) is None:
                raise Unavailable("the published signing keys can't be read")
            self._seen, self._found = seen, found
        return self._found


class Verifier:
    """Verifies tokens against the keys that hold now, for one audience."""

    def __init__(self, jwks: Jwks, audience: str, *, clock: Clock = time.time) -> None:
        self._source = jwks if callable(jwks) else lambda: jwks
        self._audience = audience
        self._clock = clock
        self._known: Mapping[str, Any] | None = None
        self._keys: dict[str, tuple[OKPKey, float]] = {}

    def current(self) -> Mapping[str, Any]:
        """Return the key set that holds now; what was verified by another one has to be verified anew."""
        found = self._source()
        if found is not self._known:
            self._known, self._keys = found, _by_kid(found)
        return found

    def verify(self, token: str) -> tuple[Principal, float]:
        """Return who acts and until when (seconds since the epoch), or raise `Unauthenticated`.

        The reason is one sentence that names no key and no claim's value.
        """
        self.current()
        if not self._keys:
            raise Unauthenticated("no signing key is known here: start the stack once, or set TAUSESTACK_JWKS")
        key, retires = self._key_of(token)
        try:
            jws.deserialize_compact(token, key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise Unauthenticated("the assertion's signature is not good") from error
        principal, expires = self._checked(_part(token, 1))
        return principal, min(expires, retires)

    def _key_of(self, token: str) -> tuple[OKPKey, float]:
        """Return the key that a token names, and until when it holds; nothing else of its header counts."""
        if len(token) > MAX_TOKEN or token.count(".") != 2:
            raise Unauthenticated("this is no assertion")
        header = _part(token, 0)
        kid = header.get("kid")
        found = self._keys.get(kid) if isinstance(kid, str) else None
        if header.keys() - _HEADER or header.get("alg") != ALGORITHM or header.get("typ", "JWT") != "JWT":
            raise Unauthenticated("the assertion's header says what none of ours does")
        if found is None or found[1] <= self._clock():
            raise Unauthenticated("the assertion is signed by a key that does not hold here")
        return found

    def _checked(self, claims: Mapping[str, Any]) -> tuple[Principal, float]:
        now = self._clock()
        expires, issued = claims.get("exp"), claims.get("iat")
        if claims.get("iss") != ISSUER:
            raise Unauthenticated("the assertion is from another issuer")
        if claims.get("aud") != self._audience:
            raise Unauthenticated("the assertion is for another audience")
        expires, issued = _time(expires), _time(issued)
        if expires <= now:
            raise Unauthenticated("the assertion has expired")
        if max(issued, _time(claims.get("nbf", issued))) > now + CLOCK_SKEW_SECONDS:
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
            agent=_word(claims.get("agent")),
            run=_word(claims.get("run")),
            bounds=None if bounds is None else _strings(bounds),
            incarnation=_word(claims.get("incarnation")) or "",
        )
        return principal, float(expires)


def _strings(value: Any) -> frozenset[str]:
    items = as_array(value)
    if items is None:
        raise Unauthenticated("the assertion has no scopes")
    return frozenset(str(item) for item in items)


def _time(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unauthenticated("the assertion has no times")
    return value


def _word(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Unauthenticated("the assertion names no agent")
    return value


def _by_kid(jwks: Mapping[str, Any]) -> dict[str, tuple[OKPKey, float]]:
    """Return the keys for our algorithm by name, each with the time until which it holds."""
    found: dict[str, tuple[OKPKey, float]] = {}
    for key in objects_in(jwks.get("keys")):
        kid, retires = key.get("kid"), key.get(RETIRES, math.inf)
        if isinstance(kid, str) and key.get("crv") == "Ed25519" and isinstance(retires, int | float):
            public: Any = {"kty": "OKP", "crv": "Ed25519", "x": key.get("x")}
            found[kid] = (OKPKey.import_key(public), float(retires))
    return found


def _part(token: str, number: int) -> dict[str, Any]:
    """Return a token's header (0) or claims (1), or raise `Unauthenticated` where it says anything twice."""
    raw = token.split(".")[number]
    try:
        decoded = base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True)
        found = json.loads(decoded, object_pairs_hook=_once)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise Unauthenticated("this is no assertion") from error
    if not isinstance(found, dict):
        raise Unauthenticated("this is no assertion")
    return found  # pyright: ignore[reportUnknownVariableType] JSON whose keys are strings


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _public_half(seed: bytes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(public).rstrip(b"=").decode()
