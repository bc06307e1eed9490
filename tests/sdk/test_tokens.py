"""Tokens: only ours, only for their audience, only in their time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from tausestack.contract import Principal
from tausestack.errors import Unauthenticated
from tausestack.tokens import Signer, Verifier, server_audience

SIGNER = Signer(b"s" * 32, clock=lambda: 1000.0)
CALLER = Principal("acme", "key:k1", frozenset({"tools:call"}), "admin")
AGENT = replace(CALLER, agent="concierge", run="run_1", bounds=frozenset({"tools:call:a/*"}))
BILLING = server_audience("billing")


def verifier(*, now: float = 1000.0, jwks: Any = None) -> Verifier:
    """Return a verifier for billing, at a time."""
    return Verifier(jwks or SIGNER.jwks(), BILLING, clock=lambda: now)


def forged(header: dict[str, Any], claims: dict[str, Any], key: bytes | None) -> str:
    """Return a token with any header and claims, signed by HMAC or not at all."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    body = ".".join(parts)
    signature = b"" if key is None else hmac.new(key, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.covers("tokens:round-trip")
@pytest.mark.parametrize("principal", [AGENT, CALLER])
def test_a_principal_comes_back_as_it_went(principal: Principal) -> None:
    assert verifier().verify(SIGNER.sign(principal, BILLING, 60)) == (principal, 1060.0)


@pytest.mark.covers("tokens:time")
def test_a_token_holds_in_its_time_alone() -> None:
    token = SIGNER.sign(AGENT, BILLING, 60)
    assert verifier(now=1059.9).verify(token)
    for now in (1060.0, 2000.0, 994.0):
        with pytest.raises(Unauthenticated):
            verifier(now=now).verify(token)


@pytest.mark.covers("tokens:forged")
def test_forged_and_misused_tokens_are_refused() -> None:
    good = SIGNER.sign(AGENT, BILLING, 60)
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    key = SIGNER.jwks()["keys"][0]
    public = base64.urlsafe_b64decode(key["x"] + "==")
    bad = [
        "", ".", "..", "a.b.c", good + "A", f"{head}.{body}.", f".{body}.{signature}",
        f"{head}.{body[:-2]}AA.{signature}",
        SIGNER.sign(AGENT, server_audience("storage"), 60),
        SIGNER.sign(AGENT, "gateway", 60),
        SIGNER.sign(replace(AGENT, tenant=""), BILLING, 60),
        SIGNER.sign(replace(AGENT, id=""), BILLING, 60),
        Signer(b"x" * 32, clock=lambda: 1000.0).sign(AGENT, BILLING, 60),
        forged({"alg": "none"}, claims, None),
        forged({"alg": "HS256", "kid": key["kid"]}, claims, public),
        forged({"alg": "HS256"}, claims, json.dumps(key).encode()),
        forged({"alg": "Ed25519", "kid": "other"}, claims, public),
        forged({"alg": "Ed25519", "jwk": key, "kid": key["kid"]}, claims, public),
        forged({"alg": "Ed25519", "jku": "http://127.0.0.1:1/keys", "kid": key["kid"]}, claims, None),
    ]  # fmt: skip
    for token in bad:
        with pytest.raises(Unauthenticated):
            verifier().verify(token)
    with pytest.raises(Unauthenticated):
        verifier(jwks={"keys": []}).verify(good)


@pytest.mark.covers("tokens:public-half")
def test_the_published_keys_hold_no_private_half() -> None:
    (key,) = SIGNER.jwks()["keys"]
    assert "d" not in key
    assert key["alg"] == "Ed25519"
