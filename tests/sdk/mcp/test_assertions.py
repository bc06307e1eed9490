"""A server takes the gateway's assertion for itself, remembers it for as long as it holds, and takes nothing else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tausestack.contract import Principal
from tausestack.errors import Unauthenticated
from tausestack.mcp import assertions
from tausestack.mcp.assertions import Assertions, bearer
from tausestack.tokens import Signer, Verifier, server_audience

ANA = Principal("acme", "key:k1", frozenset({"tools:call"}), "admin")
BILLING = server_audience("billing")


class Verified:
    """Counts the assertions that are verified and not remembered, at a time that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0
        self.tokens: list[str] = []
        self.keys: list[Any] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Verified:
    made = Verified()
    verify = Verifier.verify

    def counted(self: Verifier, token: str) -> tuple[Principal, float]:
        made.tokens.append(token)
        return verify(self, token)

    def at(jwks: Any, audience: str) -> Verifier:
        return Verifier(jwks, audience, clock=lambda: made.now)

    monkeypatch.setattr(Verifier, "verify", counted)
    monkeypatch.setattr(assertions, "Verifier", at)
    monkeypatch.setattr(assertions, "time", SimpleNamespace(time=lambda: made.now))
    return made


def signer(seen: Verified) -> Signer:
    return Signer(b"s" * 32, clock=lambda: seen.now)


@pytest.mark.covers("tokens:forged-at-services")
def test_an_assertion_is_verified_once_while_it_holds(seen: Verified) -> None:
    signs = signer(seen)
    service, token = Assertions(signs.jwks(), "billing"), signs.sign(ANA, BILLING, 60)
    for now in (0.0, 30.0, 59.9):
        seen.now = 1_000_000_000.0 + now
        assert service.principal(token) == ANA
    assert seen.tokens == [token]
    seen.now = 1_000_000_060.0
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="expired"):
            service.principal(token)
    assert seen.tokens == [token] * 3


@pytest.mark.covers("tokens:forged-at-services")
def test_an_assertion_for_another_server_or_tenant_is_refused(seen: Verified) -> None:
    signs = signer(seen)
    assert Assertions(signs.jwks(), "billing", "acme").principal(signs.sign(ANA, BILLING, 60)) == ANA
    with pytest.raises(Unauthenticated, match="another audience"):
        Assertions(signs.jwks(), "billing").principal(signs.sign(ANA, server_audience("storage"), 60))
    one = Assertions(signs.jwks(), "billing", "globex")
    for _ in range(2):
        with pytest.raises(Unauthenticated) as refused:
            one.principal(signs.sign(ANA, BILLING, 60))
        assert refused.value.message == "the assertion is for another tenant"
    for none in (None, ""):
        with pytest.raises(Unauthenticated) as refused:
            one.principal(none)
        assert refused.value.message == "A call needs the gateway's assertion"


@pytest.mark.covers("tokens:forged-at-services")
def test_what_another_set_of_keys_vouched_for_is_verified_anew(seen: Verified) -> None:
    signs = signer(seen)
    sets = [signs.jwks()]
    service, token = Assertions(lambda: sets[0], "billing"), signs.sign(ANA, BILLING, 60)
    assert service.principal(token) == service.principal(token) == ANA
    sets[0] = {"keys": [*signs.jwks()["keys"]]}
    assert service.principal(token) == service.principal(token) == ANA
    assert seen.tokens == [token] * 2
    sets[0] = {"keys": []}
    with pytest.raises(Unauthenticated):
        service.principal(token)


@pytest.mark.covers("tokens:forged-at-services")
def test_the_longest_unused_is_forgotten_first(seen: Verified, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assertions, "_REMEMBERED", 3)
    signs = signer(seen)
    service = Assertions(signs.jwks(), "billing")
    one, two, three, four = (signs.sign(replace(ANA, id=f"key:k{number}"), BILLING, 60) for number in range(4))
    for token in (one, two, three, one, four):
        service.principal(token)
    seen.tokens.clear()
    for token in (one, three, four):
        service.principal(token)
    assert seen.tokens == []
    service.principal(two)
    assert seen.tokens == [two]


@pytest.mark.covers("tokens:forged-at-services")
def test_a_bearer_token_is_read_of_its_header_alone() -> None:
    for said in ("Bearer a b", "bearer  a b ", "BEARER a b"):
        assert bearer({"authorization": said}) == "a b"
    for headers in ({}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer  "},
                    {"authorization": "Basic a b"}, {"x-authorization": "Bearer a"}):  # fmt: skip
        assert bearer(headers) is None
