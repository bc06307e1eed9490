"""What an access token has to say, claim by claim, and the one sentence that a bad one is refused with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tausestack.access_tokens import (
    MAX_FOREIGN,
    MAX_TOKEN,
    MOST_SECONDS,
    AccessToken,
    AccessTokenSigner,
    AccessTokenVerifier,
    Resource,
    derived,
    issuer_of,
    part,
    published,
    scopes_of,
)
from tausestack.errors import Unauthenticated

MASTER = b"m" * 32
SEED = hmac.digest(MASTER, b"tausestack/auth/access-tokens", "sha256")
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
SIGNER = AccessTokenSigner(MASTER, clock=lambda: 1000.7)
BASE = "https://tools.example.com"
HEADER = {"alg": "Ed25519", "typ": "at+jwt"}
CLAIMS: dict[str, Any] = {
    "iss": BASE, "aud": BASE + "/tenants/acme/mcp", "sub": "user:ana", "client_id": "https://host.example/client",
    "scope": "tools:call tools:read", "grant": "g1", "jti": "t1", "iat": 1000, "exp": 1300,
}  # fmt: skip
TOKEN = AccessToken(
    issuer=BASE, resource=Resource("acme"), subject="user:ana", client="https://host.example/client",
    scopes=frozenset({"tools:read", "tools:call"}), grant="g1", id="t1", expires=1300,
)  # fmt: skip
OURS = "This is no access token of ours"
NONE = "This is no token"
SIGNATURE = "The access token's signature is not good"


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


PUBLIC = text(KEY.public_key().public_bytes_raw())
KID = text(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{PUBLIC}"}}'.encode()).digest())
"""The name of the key by RFC 7638."""


def signed(claims: Any, header: Any = None) -> str:
    """Return a token by our key that says anything at all; text stands as it is."""
    header = {**HEADER, "kid": KID} if header is None else header
    body = ".".join(text((one if isinstance(one, str) else json.dumps(one)).encode()) for one in (header, claims))
    return f"{body}.{text(KEY.sign(body.encode()))}"


def said(**changed: Any) -> str:
    """Return a token with some claims changed; None leaves one out."""
    return signed({name: value for name, value in {**CLAIMS, **changed}.items() if value is not None})


def headed(**changed: Any) -> str:
    header = {**HEADER, "kid": KID, **changed}
    return signed(CLAIMS, {name: value for name, value in header.items() if value is not None})


def verify(token: str, *, now: float = 1000.0) -> AccessToken:
    return AccessTokenVerifier(SIGNER.jwks(), clock=lambda: now).verify(token)


def raw_part(token: str, number: int) -> Any:
    raw = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))


@pytest.mark.covers("access-tokens:claims")
def test_a_token_says_what_rfc_9068_asks_for_and_comes_back_as_it_went() -> None:
    token = SIGNER.sign(TOKEN)
    assert raw_part(token, 0) == {**HEADER, "kid": KID}
    assert raw_part(token, 1) == CLAIMS
    assert verify(token) == TOKEN
    exchanged = replace(TOKEN, actor="key:k1", bounds=frozenset({"b", "a"}), resource=Resource("acme", "billing"))
    token = SIGNER.sign(exchanged)
    more = {"act": {"sub": "key:k1"}, "bounds": "a b", "aud": BASE + "/tenants/acme/servers/billing/mcp"}
    assert raw_part(token, 1) == {**CLAIMS, **more}
    assert verify(token) == exchanged
    assert verify(said(bounds="")).bounds == frozenset()
    assert verify(said(bounds=7)).bounds == frozenset()
    assert verify(said(scope=None)).scopes == frozenset()


@pytest.mark.covers("access-tokens:keys")
def test_the_keys_are_the_auth_services_own_and_published_without_their_private_half() -> None:
    key = {"kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "kid": KID, "use": "sig", "alg": "Ed25519"}
    assert derived(MASTER, "access-tokens") == SEED
    assert SIGNER.jwks() == {"keys": [key]}
    other = AccessTokenSigner(b"n" * 32)
    assert published([MASTER, b"n" * 32]) == {"keys": [key, *other.jwks()["keys"]]}
    both = AccessTokenVerifier(published([b"n" * 32, MASTER]), clock=lambda: 1000.0)
    assert both.verify(SIGNER.sign(TOKEN)) == both.verify(other.sign(TOKEN)) == TOKEN
    with pytest.raises(Unauthenticated):
        verify(other.sign(TOKEN))


@pytest.mark.covers("access-tokens:refused")
@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (headed(alg="EdDSA"), OURS),
        (headed(alg="none"), OURS),
        (headed(typ="JWT"), OURS),
        (headed(typ=None), OURS),
        (headed(kid="another"), OURS),
        (headed(kid=None), OURS),
        (headed(jwk={"kty": "OKP"}), OURS),
        (headed(jku="https://evil.example"), OURS),
        (said() + ".x", NONE),
        (said().rpartition(".")[0], NONE),
        ("!" + said(), NONE),
        ("!!!!" + said(), NONE),
        (signed(CLAIMS, "[]"), NONE),
        (signed(CLAIMS, f'{{"alg":"Ed25519","typ":"at+jwt","kid":"{KID}","kid":"{KID}"}}'), NONE),
        (signed('{"iss":"a","iss":"b"}'), NONE),
        (signed("[]"), NONE),
        (signed("[" * 2500), NONE),
        (said()[:-4] + "AAAA", SIGNATURE),
        (said().rpartition(".")[0] + ".", SIGNATURE),
        *((said(**{name: None}), OURS) for name in ("iss", "aud", "sub", "client_id", "grant", "jti", "exp")),
        *((said(**{name: 7}), OURS) for name in ("iss", "aud", "sub", "client_id", "grant", "jti")),
        *((said(**{name: ""}), OURS) for name in ("iss", "aud", "sub", "client_id", "grant", "jti")),
        (said(exp="1300"), OURS),
        (said(exp=1300.5), OURS),
        (said(aud="https://another.example/tenants/acme/mcp"), OURS),
        (said(aud=[CLAIMS["aud"]]), OURS),
        (said(aud=BASE), OURS),
        (said(aud=BASE + "/tenants/_system/mcp"), OURS),
        (said(aud=BASE + "/tenants/acme/servers/B!/mcp"), OURS),
        (said(aud=BASE + "/tenants/acme/mcp/"), OURS),
        (said(aud="/tenants/acme/mcp" + BASE), OURS),
        (said(aud="/tenants/acme/mcp"), OURS),
        (said(exp=1000), "The access token has expired"),
        (said(exp=1000 + MOST_SECONDS + 1), "The access token would live longer than any of ours"),
    ],
)  # fmt: skip
def test_each_misuse_is_refused_by_its_reason(token: str, reason: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        verify(token)
    assert refused.value.message == reason


@pytest.mark.covers("access-tokens:claims")
def test_a_token_holds_to_the_second() -> None:
    assert verify(said(), now=1299.99) == TOKEN
    assert verify(said(exp=1000 + MOST_SECONDS)).expires == 1360


@pytest.mark.covers("access-tokens:refused")
def test_a_long_token_is_refused_unread() -> None:
    body = said().rpartition(".")[0] + "."
    for length, reason in ((MAX_TOKEN, SIGNATURE), (MAX_TOKEN + 1, NONE)):
        with pytest.raises(Unauthenticated) as refused:
            verify(body.ljust(length, "A"))
        assert refused.value.message == reason


@pytest.mark.covers("access-tokens:refused")
def test_an_issuer_is_read_of_any_token_of_a_size() -> None:
    assert issuer_of(said()) == BASE
    assert issuer_of(said(iss="tausestack:ñ~ÿ")) == "tausestack:ñ~ÿ"
    assert issuer_of(said(iss=7)) == issuer_of(said(iss=None)) == ""
    body = said().rpartition(".")[0] + "."
    assert issuer_of(body.ljust(MAX_FOREIGN, "A")) == BASE
    with pytest.raises(Unauthenticated, match=f"^{NONE}$"):
        issuer_of(body.ljust(MAX_FOREIGN + 1, "A"))


@pytest.mark.covers("access-tokens:claims")
@pytest.mark.parametrize("word", ["", "a", "ab", "abc", "abcd"])
def test_parts_of_any_length_are_read(word: str) -> None:
    assert part(said(jti=f"t{word}"), 1)["jti"] == f"t{word}"
    assert part(said(), 0)["kid"] == KID


@pytest.mark.covers("access-tokens:claims")
def test_scopes_are_words_between_spaces() -> None:
    assert scopes_of("b a  b\tc") == {"a", "b", "c"}
    assert scopes_of(["a"]) == scopes_of(None) == scopes_of("") == frozenset()


@pytest.mark.covers("access-tokens:resource")
def test_a_resource_is_a_tenants_endpoint_or_one_servers() -> None:
    assert Resource("acme").path == "/tenants/acme/mcp"
    assert Resource("acme", "billing").path == "/tenants/acme/servers/billing/mcp"
    for one in (Resource("acme"), Resource("acme", "billing")):
        assert Resource.of(one.path) == one
        assert replace(TOKEN, resource=one).audience == BASE + one.path
    for path in ("", "/", "/tenants/acme", "/tenants/a/mcp", "/tenants/ACME/mcp", "/tenants/acme/servers//mcp",
                 "/tenants/acme/servers/B/mcp", "x/tenants/acme/mcp", "/tenants/acme/mcp\n"):  # fmt: skip
        assert Resource.of(path) is None
