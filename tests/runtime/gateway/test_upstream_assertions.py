"""An assertion is signed for one server and one who acts, and kept for nobody else."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tausestack.contract import Principal
from tausestack.tokens import Signer, Verifier, server_audience
from tausestack_runtime.gateway.upstreams import assertions
from tausestack_runtime.gateway.upstreams.assertions import Assertions

ANA = Principal("acme", "key:k1", frozenset({"b", "a"}), "admin", "concierge", "run_1", frozenset({"y", "x"}))


class Counted(Signer):
    """A signer that counts what it signs, at a time that a test sets, under a name that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[tuple[Principal, str, int]] = []
        self.name = "key-1"
        super().__init__(b"s" * 32, clock=lambda: self.now)

    @property
    def kid(self) -> str:
        return self.name

    def sign(self, principal: Principal, audience: str, seconds: int) -> str:
        self.asked.append((principal, audience, seconds))
        return f"{len(self.asked)}.{super().sign(principal, audience, seconds)}"


@pytest.fixture
def signer(monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted()
    monkeypatch.setattr(assertions, "time", SimpleNamespace(time=lambda: made.now))
    return made


@pytest.mark.covers("assertions:kept")
def test_one_is_kept_for_the_same_alone(signer: Counted) -> None:
    kept = Assertions(signer)
    first = kept.of(ANA, "billing", "e1")
    assert signer.asked == [(ANA, server_audience("billing"), 60)]
    assert kept.of(replace(ANA, scopes=frozenset({"a", "b"})), "billing", "e1") == first
    others = [
        replace(ANA, tenant="globex"), replace(ANA, id="key:k2"), replace(ANA, role="viewer"), replace(ANA, agent=None),
        replace(ANA, agent="other"), replace(ANA, run=None), replace(ANA, run="run_2"), replace(ANA, bounds=None),
        replace(ANA, bounds=frozenset()), replace(ANA, bounds=frozenset({"x"})), replace(ANA, scopes=frozenset({"a"})),
        replace(ANA, agent="run_1", run="concierge"), replace(ANA, scopes=frozenset()),
    ]  # fmt: skip
    found = [kept.of(other, "billing", "e1") for other in others]
    found += [kept.of(ANA, "storage", "e1"), kept.of(ANA, "billing", "e2")]
    assert len({first, *found}) == len(found) + 1
    assert [principal for principal, _, _ in signer.asked[1:]] == [*others, ANA, ANA]
    assert [audience for _, audience, _ in signer.asked[-2:]] == [
        server_audience("storage"),
        server_audience("billing"),
    ]
    assert kept.of(ANA, "billing", "e1") == first


@pytest.mark.covers("assertions:kept")
def test_one_is_given_out_for_as_long_as_it_holds_another_15_seconds(signer: Counted) -> None:
    kept = Assertions(signer)
    first = kept.of(ANA, "billing", "e1")
    signer.now = 1044.9
    assert kept.of(ANA, "billing", "e1") == first
    signer.now = 1045.0
    second = kept.of(ANA, "billing", "e1")
    assert second != first
    signer.now = 1089.9
    assert kept.of(ANA, "billing", "e1") == second
    body = second.partition(".")[2]
    jwks = {"keys": [{**key, "kid": "key-1"} for key in Signer(b"s" * 32).jwks()["keys"]]}
    assert Verifier(jwks, server_audience("billing"), clock=lambda: 1089.9).verify(body)[0] == ANA


@pytest.mark.covers("assertions:kept")
def test_none_is_kept_of_a_key_that_signs_no_more(signer: Counted) -> None:
    kept = Assertions(signer)
    first = kept.of(ANA, "billing", "e1")
    assert kept.of(ANA, "billing", "e1") == first
    signer.name = "key-2"
    second = kept.of(ANA, "billing", "e1")
    assert second != first
    assert kept.of(ANA, "billing", "e1") == second
    kept.clear()
    assert kept.of(ANA, "billing", "e1") != second


@pytest.mark.covers("assertions:kept")
def test_the_oldest_are_forgotten_first(signer: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assertions, "MAX_KEPT", 2)
    kept = Assertions(signer)
    first = [kept.of(ANA, server, "e1") for server in ("a", "b")]
    assert [kept.of(ANA, server, "e1") for server in ("a", "b")] == first
    kept.of(ANA, "c", "e1")
    assert kept.of(ANA, "b", "e1") == first[1]
    assert kept.of(ANA, "a", "e1") != first[0]
