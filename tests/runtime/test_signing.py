"""Signing keys give way to one another while tokens of both hold; a retired one's are refused."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tausestack.contract import Principal
from tausestack.errors import NotFound, Unauthenticated, Unavailable
from tausestack.mcp import ServiceEnv
from tausestack.mcp.assertions import Assertions
from tausestack.tokens import JwksFile, Verifier, server_audience
from tausestack_runtime.keys import Masters
from tausestack_runtime.signing import HELD_SECONDS, JWKS_FILE, LONGEST_TOKEN_SECONDS, SigningKeys

ANA = Principal("acme", "key:k1", frozenset({"tools:call"}))
BILLING = server_audience("billing")
DAY = 24 * 3600.0


class Clock:
    """A time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


def keys_of(data: Path, clock: Clock) -> SigningKeys:
    keys = SigningKeys(data, Masters(data), clock=clock)
    keys.ensure()
    return keys


@pytest.mark.covers("signing:published")
def test_the_public_keys_are_enough_to_verify_and_hold_no_secret(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, Clock())
    (published,) = json.loads((tmp_path / JWKS_FILE).read_text())["keys"]
    assert "d" not in published
    assert (published["kid"], published["alg"], published["use"]) == (keys.kid, "Ed25519", "sig")
    assert Verifier(keys.jwks(), BILLING).verify(keys.sign(ANA, BILLING, 60))[0] == ANA


@pytest.mark.covers("signing:two-live")
def test_two_keys_hold_while_one_takes_over_and_the_older_goes_when_all_it_signed_has_expired(tmp_path: Path) -> None:
    clock = Clock()
    keys, verifier = keys_of(tmp_path, clock), Verifier(JwksFile(tmp_path / JWKS_FILE), BILLING, clock=clock)
    old = keys.sign(ANA, BILLING, LONGEST_TOKEN_SECONDS)
    keys.rotate()
    new = keys.sign(ANA, BILLING, LONGEST_TOKEN_SECONDS)
    assert verifier.verify(old)[0] == verifier.verify(new)[0] == ANA
    assert len(keys.jwks()["keys"]) == 2
    clock.now += LONGEST_TOKEN_SECONDS - 1
    assert verifier.verify(old)
    clock.now += HELD_SECONDS
    late = keys.sign(ANA, BILLING, 60)
    assert verifier.verify(late)
    assert keys.ensure() == keys.kid
    assert [key["kid"] for key in keys.jwks()["keys"]] == [keys.kid]


@pytest.mark.covers("signing:by-age")
def test_a_key_gives_way_when_it_is_old_enough_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_of(tmp_path, clock)
    first = keys.kid
    clock.now += 29 * DAY
    assert keys.ensure(30 * DAY) == first
    clock.now += DAY
    assert keys.ensure(30 * DAY) != first
    assert keys.ensure(30 * DAY) == keys.kid
    assert len(keys.jwks()["keys"]) == 2


@pytest.mark.covers("signing:retired")
def test_what_a_retired_key_signed_is_refused_at_once_even_where_it_was_good_before(tmp_path: Path) -> None:
    keys = keys_of(tmp_path, Clock())
    service = Assertions(ServiceEnv.from_environment({"TAUSESTACK_DATA": str(tmp_path)}).jwks, "billing")
    old = keys.sign(ANA, BILLING, 60)
    first = keys.kid
    assert service.principal(old) == ANA
    keys.rotate()
    assert service.principal(old) == service.principal(keys.sign(ANA, BILLING, 60)) == ANA
    second = keys.kid
    keys.retire(first)
    with pytest.raises(Unauthenticated, match="key that does not hold"):
        service.principal(old)
    assert service.principal(keys.sign(ANA, BILLING, 60)) == ANA
    assert keys.kid == second
    keys.retire(second)
    assert keys.kid not in {first, second}
    assert [key["kid"] for key in keys.jwks()["keys"]] == [keys.kid]
    for unknown in (first, "k" * 200):
        with pytest.raises(NotFound) as told:
            keys.retire(unknown)
        assert told.value.message == f"there is no signing key {unknown[:80]}"


@pytest.mark.covers("signing:follow")
def test_whoever_signs_or_verifies_follows_the_published_keys(tmp_path: Path) -> None:
    clock = Clock()
    gateway, supervisor = keys_of(tmp_path, clock), keys_of(tmp_path, clock)
    assert gateway.kid == supervisor.kid
    assert supervisor.rotate() == gateway.kid
    verifier = Verifier(gateway.jwks, "gateway", clock=clock)
    for _ in range(3):
        token = gateway.sign(ANA, "gateway", 60)
        supervisor.rotate()
        assert verifier.verify(token)[0] == ANA


@pytest.mark.covers("signing:follow")
def test_a_new_master_brings_a_new_signing_key_and_what_the_old_one_signed_holds(tmp_path: Path) -> None:
    clock, masters = Clock(), Masters(tmp_path)
    keys = SigningKeys(tmp_path, masters, clock=clock)
    first = keys.ensure()
    token = keys.sign(ANA, BILLING, 60)
    masters.begin()
    assert keys.kid == first
    assert keys.ensure() != first
    masters.retire(0)
    assert Verifier(keys.jwks, BILLING, clock=clock).verify(token)[0] == ANA
    assert SigningKeys(tmp_path, Masters(tmp_path), clock=clock).ensure() == keys.kid


@pytest.mark.covers("signing:follow")
def test_keys_that_an_earlier_release_published_hold_until_its_tokens_ended(tmp_path: Path) -> None:
    from tausestack.tokens import Signer

    clock = Clock()
    earlier = Signer(b"s" * 32, clock=clock)
    published: dict[str, Any] = dict(earlier.jwks())
    (tmp_path / JWKS_FILE).write_text(json.dumps(published))
    keys = keys_of(tmp_path, clock)
    assert keys.kid != earlier.kid
    verifier = Verifier(keys.jwks, BILLING, clock=clock)
    assert verifier.verify(earlier.sign(ANA, BILLING, 60))
    clock.now += HELD_SECONDS + 1
    with pytest.raises(Unauthenticated):
        verifier.verify(earlier.sign(ANA, BILLING, 60))


@pytest.mark.covers("signing:two-live")
def test_a_key_that_gave_way_goes_in_its_time_however_many_come_after_it(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_of(tmp_path, clock)
    first, begun = keys.kid, clock.now
    keys.rotate()
    clock.now += 100
    keys.rotate()
    retires = {key["kid"]: key.get("exp") for key in keys.jwks()["keys"]}
    assert list(retires.values()) == [None, begun + 100 + HELD_SECONDS, begun + HELD_SECONDS]
    assert list(retires)[2] == first
    clock.now = begun + HELD_SECONDS - 1
    keys.ensure()
    assert len(keys.jwks()["keys"]) == 3
    clock.now += 1
    keys.ensure()
    assert list(retires)[:2] == [key["kid"] for key in keys.jwks()["keys"]]
    before = (tmp_path / JWKS_FILE).stat()
    assert keys.ensure() == keys.ensure(30 * DAY) == keys.kid
    after = (tmp_path / JWKS_FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.covers("signing:published")
def test_without_a_key_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = SigningKeys(tmp_path, Masters(tmp_path))
    for text in ("", '{"keys": []}', '{"keys": [{"kid": "another"}]}'):
        if text:
            (tmp_path / JWKS_FILE).write_text(text)
        with pytest.raises(Unavailable) as none:
            keys.sign(ANA, BILLING, 60)
        assert none.value.message == "there is no key to sign with: start the stack once"

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(Unavailable) as refused:
        keys.ensure()
    assert refused.value.message == "can't write jwks.json: No space left on device"
