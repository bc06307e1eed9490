"""What a token of the house has to say, claim by claim, and the one sentence that a bad one is refused with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tausestack.contract import Principal
from tausestack.errors import Unauthenticated, Unavailable
from tausestack.tokens import MAX_TOKEN, JwksFile, Signer, Verifier, server_audience

SEED = b"s" * 32
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
SIGNER = Signer(SEED, clock=lambda: 1000.7)
BILLING = server_audience("billing")
CLAIMS: dict[str, Any] = {
    "iss": "tausestack", "aud": "server:billing", "sub": "key:k1", "tenant": "acme", "role": "admin",
    "scopes": ["tools:call", "tools:read"], "iat": 1000, "exp": 1060,
}  # fmt: skip
NONE = "this is no assertion"
HEADER = "the assertion's header says what none of ours does"
HOLDS_NOT = "the assertion is signed by a key that does not hold here"
SIGNATURE = "the assertion's signature is not good"


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


PUBLIC = text(KEY.public_key().public_bytes_raw())
THUMBPRINT = text(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{PUBLIC}"}}'.encode()).digest())
"""The name of the key by RFC 7638."""


def signed(claims: Any, header: Any = None) -> str:
    """Return a token by our key that says anything at all; text stands as it is."""
    header = {"alg": "Ed25519", "kid": THUMBPRINT, "typ": "JWT"} if header is None else header
    body = ".".join(text((part if isinstance(part, str) else json.dumps(part)).encode()) for part in (header, claims))
    return f"{body}.{text(KEY.sign(body.encode()))}"


def said(**changed: Any) -> str:
    """Return a token with some claims changed; None leaves one out."""
    return signed({name: value for name, value in {**CLAIMS, **changed}.items() if value is not None})


def headed(**changed: Any) -> str:
    header = {"alg": "Ed25519", "kid": THUMBPRINT, "typ": "JWT", **changed}
    return signed(CLAIMS, {name: value for name, value in header.items() if value is not None})


def verifier(*, now: float = 1000.0, jwks: Any = None) -> Verifier:
    return Verifier(SIGNER.jwks() if jwks is None else jwks, BILLING, clock=lambda: now)


def part(token: str, number: int) -> Any:
    raw = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))


@pytest.mark.covers("tokens:round-trip")
def test_a_token_says_who_acts_for_whom_and_until_when_and_nothing_else() -> None:
    token = SIGNER.sign(Principal("acme", "key:k1", frozenset({"tools:read", "tools:call"}), "admin"), BILLING, 60)
    assert part(token, 0) == {"alg": "Ed25519", "kid": THUMBPRINT, "typ": "JWT"}
    assert part(token, 1) == CLAIMS
    agent = Principal("acme", "key:k1", frozenset(), "", "concierge", "run_1", frozenset({"b", "a"}))
    more = {"role": "", "scopes": [], "agent": "concierge", "run": "run_1", "bounds": ["a", "b"]}
    assert part(SIGNER.sign(agent, BILLING, 60), 1) == {**CLAIMS, **more}
    assert verifier().verify(said(**more)) == (agent, 1060.0)


@pytest.mark.covers("tokens:public-half")
def test_a_key_is_published_by_its_thumbprint_for_signatures_alone() -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": THUMBPRINT, "use": "sig", "alg": "Ed25519"}
    assert SIGNER.jwks() == {"keys": [key]}
    assert SIGNER.kid == THUMBPRINT


@pytest.mark.covers("tokens:round-trip")
@pytest.mark.parametrize("subject", ["key:k", "key:k1", "key:k12", "user:ñandú~ÿ?>", "user:" + "ü" * 30])
def test_tokens_of_any_length_and_letters_are_read(subject: str) -> None:
    assert verifier().verify(said(sub=subject))[0].id == subject


@pytest.mark.covers("tokens:forged")
@pytest.mark.parametrize(
    ("token", "reason"),
    [
        # the header
        (headed(alg="EdDSA"), HEADER),
        (headed(alg=None), HEADER),
        (headed(typ="at+jwt"), HEADER),
        (headed(jku="https://evil.example/keys"), HEADER),
        (headed(crit=["exp"]), HEADER),
        (headed(kid="another"), HOLDS_NOT),
        (headed(kid=None), HOLDS_NOT),
        (headed(kid=[THUMBPRINT]), HOLDS_NOT),
        # the form
        (said().replace(".", ". ", 1), SIGNATURE),
        (said() + ".x", NONE),
        (said().rpartition(".")[0], NONE),
        ("!" + said(), NONE),
        ("!!!!" + said(), NONE),
        (signed(CLAIMS, "[1]"), NONE),
        (signed(CLAIMS, "no JSON"), NONE),
        (signed(CLAIMS, '{"alg":"Ed25519","alg":"Ed25519","kid":"x"}'), NONE),
        (signed('{"iss":"tausestack","iss":"tausestack"}'), NONE),
        (signed("[]"), NONE),
        (signed("[" * 9000), NONE),
        (said()[:-4] + "AAAA", SIGNATURE),
        (said().rpartition(".")[0] + ".", SIGNATURE),
        # what it says
        (said(iss="tausestack2"), "the assertion is from another issuer"),
        (said(iss=None), "the assertion is from another issuer"),
        (said(aud="server:billing2"), "the assertion is for another audience"),
        (said(aud=["server:billing"]), "the assertion is for another audience"),
        (said(aud=None), "the assertion is for another audience"),
        (said(exp=1000), "the assertion has expired"),
        (said(exp="1060"), "the assertion has no times"),
        (said(exp=None), "the assertion has no times"),
        (said(exp=True), "the assertion has no times"),
        (said(iat=None), "the assertion has no times"),
        (said(nbf="0"), "the assertion has no times"),
        (said(iat=1006), "the assertion is from the future"),
        (said(nbf=1006), "the assertion is from the future"),
        (said(iat=1006, nbf=1), "the assertion is from the future"),
        (said(tenant=None), "the assertion names no tenant"),
        (said(tenant=""), "the assertion names no tenant"),
        (said(tenant=7), "the assertion names no tenant"),
        (said(tenant=["acme"]), "the assertion names no tenant"),
        (said(sub=None), "the assertion names no tenant"),
        (said(sub=""), "the assertion names no tenant"),
        (said(sub={"id": 1}), "the assertion names no tenant"),
        (said(scopes=None), "the assertion has no scopes"),
        (said(scopes="tools:call"), "the assertion has no scopes"),
        (said(bounds="tools:call"), "the assertion has no scopes"),
        (said(agent=7), "the assertion names no agent"),
        (said(run=["run_1"]), "the assertion names no agent"),
    ],
)  # fmt: skip
def test_each_misuse_is_refused_by_its_reason(token: str, reason: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        verifier().verify(token)
    assert refused.value.message == reason


@pytest.mark.covers("tokens:round-trip")
def test_what_may_be_left_out_or_vary_does_no_harm() -> None:
    ana = Principal("acme", "key:k1", frozenset({"tools:call", "tools:read"}), "admin")
    assert verifier().verify(headed(typ=None)) == (ana, 1060.0)
    assert verifier().verify(said(role=None)) == (Principal("acme", "key:k1", ana.scopes), 1060.0)
    assert verifier().verify(said(iat=1005, nbf=1005)) == (ana, 1060.0)
    assert verifier().verify(said(bounds=[]))[0].bounds == frozenset()
    assert verifier(now=1059.99).verify(said()) == (ana, 1060.0)


@pytest.mark.covers("tokens:forged")
def test_a_long_token_is_refused_unread() -> None:
    body = said().rpartition(".")[0] + "."
    for length, reason in ((MAX_TOKEN, SIGNATURE), (MAX_TOKEN + 1, NONE)):
        with pytest.raises(Unauthenticated) as refused:
            verifier().verify(body.ljust(length, "A"))
        assert refused.value.message == reason


@pytest.mark.covers("tokens:forged")
def test_without_a_key_that_holds_nothing_is_good() -> None:
    (key,) = SIGNER.jwks()["keys"]
    nowhere = "no signing key is known here: start the stack once, or set TAUSESTACK_JWKS"
    unusable = ({"kid": 7}, {"crv": "X25519"}, {"exp": "later"}, {"exp": None})
    sets: list[tuple[Any, str]] = [({"keys": []}, nowhere), ({}, nowhere)]
    sets += [({"keys": [{**key, **change}]}, nowhere) for change in unusable]
    sets += [({"keys": [{**key, "exp": 1000}]}, HOLDS_NOT), ({"keys": [{**key, "exp": 999.5}]}, HOLDS_NOT)]
    sets += [({"keys": [{**key, "kid": "another"}]}, HOLDS_NOT)]
    for jwks, reason in sets:
        with pytest.raises(Unauthenticated) as refused:
            verifier(jwks=jwks).verify(said())
        assert refused.value.message == reason
    for change, until in (({"exp": 1030}, 1030.0), ({"exp": 1030.5}, 1030.5), ({"exp": 9999}, 1060.0)):
        jwks = {"keys": [{**key, "kid": None}, "no key", {**key, **change}]}
        assert verifier(jwks=jwks).verify(said())[1] == until


@pytest.mark.covers("tokens:forged")
def test_keys_are_asked_for_each_time_and_read_where_they_are_others() -> None:
    sets: list[Any] = [SIGNER.jwks()]
    found = Verifier(lambda: sets[0], BILLING, clock=lambda: 1000.0)
    assert found.verify(said())
    assert found.current() is sets[0]
    sets[0] = {"keys": []}
    with pytest.raises(Unauthenticated):
        found.verify(said())
    assert found.current() is sets[0]


@pytest.mark.covers("tokens:keys-file")
def test_a_file_of_keys_is_read_again_when_another_stands_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    file = JwksFile(path)
    assert file() == {"keys": []}
    assert file() is file()
    path.write_text('{"keys": [{"kid": "ñ1"}]}', encoding="utf-8")
    first = file()
    assert first == {"keys": [{"kid": "ñ1"}]}
    assert file() is first
    about = path.stat()
    times = (about.st_atime_ns, about.st_mtime_ns)
    changes: list[tuple[str, Any]] = [
        ('{"keys": [{"kid": "n2222"}]}', path),  # the size
        ('{"keys": [{"kid": "n3333"}]}', tmp_path / "another"),  # the file
        ('{"keys": [{"kid": "n4444"}]}', None),  # the time
    ]
    for number, (written, where) in enumerate(changes, 2):
        (where or path).write_text(written, encoding="utf-8")
        if where is not None:
            os.utime(where, ns=times)
            where.replace(path)
        assert file() == {"keys": [{"kid": f"n{str(number) * 4}"}]}
    path.unlink()
    empty = file()
    assert empty == {"keys": []}
    assert file() is empty


@pytest.mark.covers("tokens:keys-file")
@pytest.mark.parametrize("raw", [b"", b"[]", b'{"keys": {}}', b'{"key": []}', b"{", b'{"keys": []}\xff'])
def test_a_file_that_holds_no_keys_closes_the_door(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(raw)
    file = JwksFile(path)
    for _ in range(2):
        with pytest.raises(Unavailable) as closed:
            file()
        assert closed.value.message == "the published signing keys can't be read"
    path.write_bytes(b'{"keys": []}  ')
    assert file() == {"keys": []}
