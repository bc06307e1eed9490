"""Forged and misused tokens of the house, made with a real stack's own keys where a forger could have none better."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tausestack.contract import Principal
from tausestack.tokens import Signer
from tausestack_runtime.keys import Masters

ADMIN = frozenset({"tools:read", "tools:call", "servers:manage", "runs:write", "tenant:admin"})


def part(value: Any) -> str:
    """Return one part of a token: bytes as they are, text as it stands, everything else as JSON."""
    raw = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Forge:
    """Signs whatever it is told with the key that a stack signs with now."""

    data: Path

    def __post_init__(self) -> None:
        self.public: dict[str, Any] = json.loads((self.data / "jwks.json").read_text())["keys"][0]
        self.kid = self.public["kid"]
        seed = Masters(self.data, make=False).current.subkey(f"signing/{self.public['pro.tause/label']}")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.header = {"alg": "Ed25519", "kid": self.kid}

    def claims(self, tenant: str, audience: str, /, **changed: Any) -> dict[str, Any]:
        """Return the claims of a good token, but for those that are changed; one that is changed to None is missing."""
        now = int(time.time())
        good = {
            "iss": "tausestack", "aud": audience, "sub": "operator", "tenant": tenant, "role": "admin",
            "scopes": sorted(ADMIN), "iat": now, "exp": now + 60, "incarnation": self._incarnation(tenant),
        }  # fmt: skip
        return {name: value for name, value in {**good, **changed}.items() if value is not None}

    def _incarnation(self, tenant: str) -> str | None:
        with closing(sqlite3.connect(self.data / "tenants" / "_system" / "auth.db")) as system:
            found = system.execute("SELECT incarnation FROM tenants WHERE id = ?", [tenant]).fetchone()
        return None if found is None else str(found[0])

    def sign(self, header: Any, claims: Any) -> str:
        """Return a token with any header and claims under a good signature."""
        body = f"{part(header)}.{part(claims)}"
        return f"{body}.{part(self._private.sign(body.encode()))}"

    def mac(self, header: dict[str, Any], claims: Any, key: bytes) -> str:
        """Return a token under an HMAC."""
        body = f"{part(header)}.{part(claims)}"
        return f"{body}.{part(hmac.new(key, body.encode(), hashlib.sha256).digest())}"


Case = tuple[str, str]
"""What is wrong with a token, and the token."""


def forged(forge: Forge, tenant: str, audience: str, elsewhere: str) -> list[Case]:
    """Return tokens that nobody may take for an audience; `elsewhere` is a URL that is watched."""
    claims = forge.claims(tenant, audience)
    principal = Principal(tenant, "operator", ADMIN, role="admin")
    another = ("another stack's", Signer(b"o" * 32).sign(principal, audience, 60))
    said = _by_claims(forge, tenant, audience)
    return [
        *_by_algorithm(forge, claims),
        *_by_header(forge, claims, elsewhere),
        *said,
        *_by_shape(forge, claims),
        another,
    ]


def _by_algorithm(forge: Forge, claims: dict[str, Any]) -> Iterator[Case]:
    body, public = part(claims), base64.urlsafe_b64decode(forge.public["x"] + "==")
    for name in ("none", "None", "NONE", ""):
        yield f"alg {name!r}, unsigned", f"{part({'alg': name})}.{body}."
        yield f"alg {name!r}, with a good signature", forge.sign({**forge.header, "alg": name}, claims)
    yield "no alg", forge.sign({"kid": forge.kid}, claims)
    spelled = {"raw": public, "as JSON": json.dumps(forge.public).encode(), "in base64": forge.public["x"].encode()}
    for how, key in spelled.items():
        yield f"HS256 by the public key {how}", forge.mac({"alg": "HS256", "kid": forge.kid}, claims, key)
        yield f"HS256 called Ed25519 by the public key {how}", forge.mac(forge.header, claims, key)
    yield "HS256 by nothing", forge.mac({"alg": "HS256", "kid": forge.kid}, claims, b"")
    for alg in ("EdDSA", "RS256", "ES256", "PS256", "Ed448", "dir"):
        yield f"a good signature called {alg}", forge.sign({**forge.header, "alg": alg}, claims)


def _by_header(forge: Forge, claims: dict[str, Any], elsewhere: str) -> Iterator[Case]:
    mine, body, soon = Ed25519PrivateKey.generate(), part(claims), int(time.time()) + 60
    own = {"kty": "OKP", "crv": "Ed25519", "x": part(mine.public_key().public_bytes_raw()), "kid": forge.kid}

    def by_my_key(**header: Any) -> str:
        signed = f"{part({**forge.header, **header})}.{body}"
        return f"{signed}.{part(mine.sign(signed.encode()))}"

    yield "no kid", forge.sign({"alg": "Ed25519"}, claims)
    for kid in ("", "other", "../../jwks.json", "' OR 1=1 --", None, 1, [forge.kid], {"kid": forge.kid}):
        yield f"kid {kid!r}", forge.sign({"alg": "Ed25519", "kid": kid}, claims)
    yield "signed by a key of the forger's", by_my_key()
    brought: dict[str, Any] = {"jwk": own, "jku": f"{elsewhere}/jku", "x5u": f"{elsewhere}/x5u", "x5c": ["AAAA"]}
    for name, value in brought.items():
        yield f"{name} in the header", by_my_key(**{name: value})
        yield f"{name} beside a good signature", forge.sign({**forge.header, name: value}, claims)
    for crit in (["exp"], ["b64"], [], "exp"):
        yield f"crit {crit!r}", forge.sign({**forge.header, "crit": crit, "exp": soon, "b64": True}, claims)
    for name, value in {"b64": False, "zip": "DEF", "typ": "at+jwt", "cty": "JWT"}.items():
        yield f"{name} in the header", forge.sign({**forge.header, name: value}, claims)
    yield "kid twice in the header", forge.sign(f'{{"alg":"Ed25519","kid":"other","kid":"{forge.kid}"}}', claims)


def _by_claims(forge: Forge, tenant: str, audience: str) -> Iterator[Case]:
    now, claims = int(time.time()), forge.claims(tenant, audience)
    for name, value in {"tenant": "globex", "aud": "server:other", "exp": 1, "sub": "operator"}.items():
        twice = json.dumps(claims)[:-1] + f", {json.dumps(name)}: {json.dumps(value)}" + "}"
        yield f"{name} twice", forge.sign(forge.header, twice)
    others = ["server:other", "server:", "server:*", f"{audience} ", audience.upper(), [audience], "", None]
    others += [other for other in ("gateway", "server:storage") if other != audience]
    wrong: dict[str, list[Any]] = {
        "iss": ["tausestack ", "Tausestack", "https://issuer.example", "", ["tausestack"], None],
        "aud": others,
        "exp": [now - 1, 0, str(now + 60), True, float(now + 60), [now + 60], None],
        "iat": [now + 600, "now", None],
        "nbf": [now + 600, "later"],
        "tenant": ["", [tenant], 1, None],
        "sub": ["", {"id": "operator"}, None],
        "scopes": ["tools:call", {"tools:call": True}, None],
        "agent": [["concierge"]],
        "run": [7],
    }
    for name, values in wrong.items():
        for value in values:
            yield f"{name} {value!r}", forge.sign(forge.header, forge.claims(tenant, audience, **{name: value}))


def _by_shape(forge: Forge, claims: dict[str, Any]) -> Iterator[Case]:
    good = forge.sign(forge.header, claims)
    head, body, signature = good.split(".")
    for raw in ("[]", '"claims"', "null", "1", "{", b"\xff\xfe", '{"a":' * 1000):
        yield f"claims {raw[:9]!r}", forge.sign(forge.header, raw)
        yield f"a header {raw[:9]!r}", f"{part(raw)}.{body}.{signature}"
    yield "a huge token", forge.sign(forge.header, {**claims, "more": "x" * 40_000})
    yield "a huge kid", forge.sign({"alg": "Ed25519", "kid": "k" * 40_000}, claims)
    yield "no signature", f"{head}.{body}."
    yield "half a signature", f"{head}.{body}.{signature[:43]}"
    yield (
        "another token's signature",
        f"{head}.{body}.{forge.sign(forge.header, {**claims, 'role': 'x'}).split('.')[2]}",
    )
    yield "claims changed", f"{head}.{part({**claims, 'tenant': 'globex'})}.{signature}"
    yield "five parts", f"{good}.{body}.{signature}"
    yield "one part", head
    yield "standard base64", f"{head}.{body}.{signature[:-3]}+/="
