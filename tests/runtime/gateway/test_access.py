"""An access token of ours acts for whom it names, as its tenant says now, and for nobody once any of that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from owners import KEY, Owners
from tausestack.access_tokens import AccessToken, AccessTokenSigner, AccessTokenVerifier, Resource, published
from tausestack.contract import Principal
from tausestack.errors import Unauthenticated
from tausestack_runtime.gateway.oauth import access
from tausestack_runtime.gateway.oauth.access import AccessTokens, PublishedKeys
from tausestack_runtime.gateway.oauth.bases import Bases
from tausestack_runtime.gateway.snapshots import Snapshots
from tausestack_runtime.keys import Keys

pytestmark = pytest.mark.anyio

BASE = "https://tools.example.com"
MASTER = b"m" * 32
NO_MORE = "The access token is good no more"


class Clock:
    """A time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 2_000_000_000.0
        self.verified = 0
        """How many tokens were verified by it."""

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(access, "time", SimpleNamespace(time=made))

    def verifier(jwks: Mapping[str, Any]) -> AccessTokenVerifier:
        made.verified += 1
        return AccessTokenVerifier(jwks, clock=made)

    monkeypatch.setattr(access, "AccessTokenVerifier", verifier)
    return made


@pytest.fixture
def owners() -> Owners:
    made = Owners()
    made.users = [{"id": "ana", "scopes": ["tools:read", "tools:call:billing/*"], "roles": ["viewer"]}]
    return made


class Gateway:
    """Access tokens as a gateway takes them."""

    def __init__(self, owners: Owners, clock: Clock) -> None:
        self.signer = AccessTokenSigner(MASTER, clock=clock)
        self.usual = AccessToken(
            issuer=BASE, resource=Resource("acme", "billing"), subject="user:ana", client="c", grant="g1", id="t1",
            scopes=frozenset({"tools:call", "tools:read"}), expires=int(clock.now) + 300,
        )  # fmt: skip
        self.masters = [MASTER]
        self.snapshots = Snapshots(owners, [])
        self.tokens = AccessTokens(self.jwks, Bases(BASE), self.snapshots)

    def jwks(self) -> Mapping[str, Any]:
        return published(self.masters)

    async def take(self, **changed: Any) -> tuple[Principal, Resource]:
        text = self.signer.sign(replace(self.usual, **changed))
        return await self.tokens.principal(text, f"hash of {text}")

    async def refuses(self, **changed: Any) -> str:
        with pytest.raises(Unauthenticated) as refused:
            await self.take(**changed)
        return refused.value.message


@pytest.fixture
def gateway(owners: Owners, clock: Clock) -> Gateway:
    return Gateway(owners, clock)


ANA = Principal("acme", "user:ana", frozenset({"tools:read", "tools:call:billing/*"}), "viewer")


@pytest.mark.covers("access-tokens:acts")
async def test_a_token_acts_within_its_scopes_and_its_persons(gateway: Gateway) -> None:
    assert await gateway.take() == (ANA, Resource("acme", "billing"))
    narrow = frozenset({"tools:call:billing/pay", "runs:write"})
    found, resource = await gateway.take(id="t2", scopes=narrow, resource=Resource("acme"))
    assert (found, resource) == (replace(ANA, scopes=frozenset({"tools:call:billing/pay"})), Resource("acme"))


@pytest.mark.covers("access-tokens:acts")
async def test_a_token_for_whom_another_acts_is_bound_by_both(gateway: Gateway, owners: Owners) -> None:
    owners.keys["h1"] = {**KEY, "scopes": ["tools:call:billing/*", "tools:read"]}
    bounds = frozenset({"tools:call:billing/pay", "runs:write"})
    found, _ = await gateway.take(actor="key:k1", bounds=bounds)
    assert found == replace(ANA, bounds=frozenset({"tools:call:billing/pay"}))
    assert (await gateway.take(id="t2", actor="key:k1"))[0].bounds == frozenset()
    assert (await gateway.take(id="t3", bounds=bounds))[0].bounds == bounds
    assert await gateway.refuses(id="t4", actor="key:k2", bounds=bounds) == NO_MORE
    assert await gateway.refuses(id="t5", actor="user:bob") == NO_MORE


@pytest.mark.covers("access-tokens:ends")
async def test_a_token_of_a_tenant_that_had_this_id_before_is_good_no_more(gateway: Gateway, owners: Owners) -> None:
    assert (await gateway.take())[0] == ANA
    owners.tenants["acme"]["incarnation"] = "second"
    owners.touch()
    gateway.snapshots.expire()
    assert (await gateway.take(id="t2", incarnation="second"))[0] == replace(ANA, incarnation="second")
    assert await gateway.refuses() == NO_MORE
    assert await gateway.refuses(id="t3") == NO_MORE


@pytest.mark.covers("access-tokens:acts")
async def test_a_token_is_verified_once_and_looked_up_from_then_on(
    gateway: Gateway, owners: Owners, clock: Clock
) -> None:
    for _ in range(3):
        assert (await gateway.take())[0] == ANA
    assert clock.verified == 1
    assert owners.asked.count(("auth", "snapshot")) == 1
    assert (await gateway.take())[0] is (await gateway.take())[0]


@pytest.mark.covers("access-tokens:ends")
async def test_a_token_ends_to_the_second(gateway: Gateway, clock: Clock) -> None:
    text = gateway.signer.sign(gateway.usual)
    for later in (0.0, 299.9):
        clock.now += later
        assert (await gateway.tokens.principal(text, "h"))[0] == ANA
    clock.now += 0.1
    with pytest.raises(Unauthenticated, match=f"^{NO_MORE}$"):
        await gateway.tokens.principal(text, "h")
    assert await gateway.refuses(id="t2") == "The access token has expired"


@pytest.mark.covers("access-tokens:ends")
@pytest.mark.parametrize("ended", ["g1", "t1"])
async def test_a_token_ends_with_its_grant_and_by_itself(gateway: Gateway, owners: Owners, ended: str) -> None:
    assert (await gateway.take())[0] == ANA
    owners.ended = [ended, "g2"]
    owners.touch()
    gateway.snapshots.expire()
    assert await gateway.refuses() == NO_MORE
    assert (await gateway.take(id="t3", grant="g3"))[0] == ANA


@pytest.mark.covers("access-tokens:ends")
async def test_a_token_ends_with_its_person_and_narrows_with_their_role(gateway: Gateway, owners: Owners) -> None:
    assert (await gateway.take())[0] == ANA
    owners.users[0] = {"id": "ana", "scopes": ["tools:read"], "roles": ["viewer", "agent"]}
    owners.touch()
    gateway.snapshots.expire()
    assert (await gateway.take())[0] == replace(ANA, scopes=frozenset({"tools:read"}), role="viewer,agent")
    owners.users = []
    owners.touch()
    gateway.snapshots.expire()
    assert await gateway.refuses() == NO_MORE
    del owners.tenants["acme"]
    owners.touch()
    gateway.snapshots.expire()
    assert await gateway.refuses() == NO_MORE


@pytest.mark.covers("access-tokens:ends")
@pytest.mark.parametrize("part", ["subject", "actor"])
async def test_a_token_ends_with_the_key_that_it_acts_for_or_by(
    gateway: Gateway, owners: Owners, clock: Clock, part: str
) -> None:
    key = {**KEY, "scopes": ["tools:read"], "expires_at": "2033-05-18T03:33:30+00:00"}  # ten seconds from then
    owners.keys["h1"] = key
    about = {part: "key:k1"}
    assert (await gateway.take(**about))[0].scopes >= {"tools:read"}
    clock.now += 9.9
    first = (await gateway.take(**about))[0]
    assert first is (await gateway.take(**about))[0]
    clock.now += 0.1
    assert (await gateway.take(**about))[0] is not first  # asked anew: it may have been renewed
    owners.keys["h1"] = {**key, "expires_at": "2020-01-01T00:00:00+00:00"}
    owners.touch()
    gateway.snapshots.expire()
    assert await gateway.refuses(**about) == NO_MORE


@pytest.mark.covers("access-tokens:refused")
async def test_a_token_of_another_issuer_or_tenant_is_refused(gateway: Gateway) -> None:
    for _ in range(2):
        assert await gateway.refuses(issuer="https://evil.example") == "The access token is from another issuer"
    assert await gateway.refuses(resource=Resource("globex")) == NO_MORE
    assert await gateway.refuses(subject="user:bob") == NO_MORE
    with pytest.raises(Unauthenticated, match=r"^This is no access token of ours$"):
        await gateway.tokens.principal(AccessTokenSigner(b"n" * 32).sign(gateway.usual), "h")


@pytest.mark.covers("access-tokens:acts")
async def test_the_first_of_too_many_are_forgotten(
    gateway: Gateway, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "KEPT", 2)
    for name in ("t1", "t2", "t2", "t1", "t3", "t2", "t3"):
        assert (await gateway.take(id=name))[0] == ANA
    assert clock.verified == 3
    assert (await gateway.take(id="t1"))[0] == ANA
    assert clock.verified == 4


@pytest.mark.covers("access-tokens:ends")
async def test_a_token_that_was_taken_before_ends_with_the_key_that_it_is_signed_by(gateway: Gateway) -> None:
    assert (await gateway.take())[0] == ANA
    gateway.masters = [b"n" * 32, MASTER]
    assert (await gateway.take())[0] == ANA
    gateway.masters = [b"n" * 32]
    assert await gateway.refuses() == "This is no access token of ours"


@pytest.mark.covers("access-tokens:keys")
def test_the_published_keys_are_those_of_every_master_that_holds() -> None:
    masters = [Keys("a" * 32), Keys("b" * 32)]
    live = [(masters[0],)]
    keys = PublishedKeys(lambda: live[0], "auth")
    one, two = (AccessTokenSigner(master.subkey("auth")).jwks()["keys"] for master in masters)
    first = keys.jwks()
    assert first == {"keys": one}
    assert keys.jwks() is first
    live[0] = (masters[1], masters[0])
    assert keys.jwks() == {"keys": [*two, *one]}
    live[0] = ()
    assert keys.jwks() == PublishedKeys(tuple, "auth").jwks() == {"keys": []}
