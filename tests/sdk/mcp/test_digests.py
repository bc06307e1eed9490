"""What an idempotency key stands for is digested under keys that lie elsewhere; what was kept before counts."""

from __future__ import annotations

import hashlib

import pytest

import tausestack as ts
from tausestack.errors import KeyReused
from tausestack.mcp.digests import ASKED_SECONDS, Digests, arguments_digest

GIVEN = {"password": "guess me"}


class Keys:
    """Keys that a test changes, and how often they were asked for."""

    def __init__(self) -> None:
        self.now = {"m1": b"1" * 32}
        self.asked = 0
        self.time = 0.0

    def __call__(self) -> dict[str, bytes]:
        self.asked += 1
        return dict(self.now)

    def digests(self) -> Digests:
        return Digests(self, clock=lambda: self.time)


@pytest.mark.anyio
@pytest.mark.covers("kit:keyed-digests")
async def test_a_digest_can_be_made_by_nobody_without_the_key() -> None:
    keys = Keys()
    digests = keys.digests()
    found = await digests.of("acme", "key:k1", GIVEN)
    plain = arguments_digest("key:k1", GIVEN)
    assert found.kept.startswith("m1:")
    assert plain not in found.kept
    assert hashlib.sha256(plain.encode()).hexdigest() not in found.kept
    others = [await digests.of(*about) for about in (("globex", "key:k1", GIVEN), ("acme", "key:k2", GIVEN),
                                                     ("acme", "key:k1", {}))]  # fmt: skip
    assert found.kept not in {other.kept for other in others}
    for other in others:
        with pytest.raises(KeyReused, match="with other arguments"):
            other.check(found.kept)
    assert (await digests.of("acme", "key:k1", GIVEN)).kept == found.kept
    assert keys.asked == 1


@pytest.mark.anyio
@pytest.mark.covers("kit:keyed-digests")
async def test_what_was_kept_without_a_key_or_under_one_that_leaves_counts() -> None:
    keys = Keys()
    digests = keys.digests()
    first = (await digests.of("acme", "key:k1", GIVEN)).kept
    keys.now = {"m2": b"2" * 32, "m1": b"1" * 32}
    keys.time = ASKED_SECONDS
    later = await digests.of("acme", "key:k1", GIVEN)
    assert later.kept.startswith("m2:")
    for kept in (first, later.kept, arguments_digest("key:k1", GIVEN)):
        later.check(kept)
    with pytest.raises(KeyReused, match="with other arguments"):
        later.check(arguments_digest("key:k1", {}))
    keys.now = {"m2": b"2" * 32}
    keys.time += ASKED_SECONDS
    last = await digests.of("acme", "key:k1", GIVEN)
    last.check(first)  # who called is told still, and given what came of it
    with pytest.raises(KeyReused):
        (await digests.of("acme", "key:k2", GIVEN)).check(first)


@pytest.mark.anyio
@pytest.mark.covers("kit:keyed-digests")
async def test_a_server_that_runs_alone_has_plain_ones() -> None:
    found = await Digests(None).of("acme", "key:k1", GIVEN)
    assert found.kept == arguments_digest("key:k1", GIVEN)
    found.check(found.kept)


@pytest.mark.anyio
@pytest.mark.covers("kit:keyed-digests", "kit:nested-calls")
async def test_a_nested_calls_key_lets_nobody_try_its_arguments(notes: ts.mcp.Server) -> None:
    async def asked(question: str, digests: Digests) -> list[str | None]:
        """Return the keys of two calls, alike, within one that asks."""
        async with ts.testing.stack(notes) as stack:
            stack.service.digests = digests
            stack.answer("oracle/answer", lambda _: {"answer": ""})
            stack.answer("registry/reveal", lambda _: {"secrets": {}})
            await stack.acme.call("ask", {"question": question}, idempotency_key="order-77")
            return [each.idempotency_key for each in stack.calls[:2]]

    who = arguments_digest("key:acme-admin", {"question": "why"})
    tried = [hashlib.sha256(f"order-77\noracle/answer\n{who}\n{n}".encode()).hexdigest() for n in (1, 2)]
    assert await asked("why", Digests(None)) == tried, "so could anybody"
    keys = Keys()
    first = await asked("why", keys.digests())
    assert not {*first} & {*tried}
    assert await asked("why", keys.digests()) == first
    assert not {*first} & {*await asked("how", keys.digests())}
    keys.now = {"m2": b"2" * 32, **keys.now}
    assert await asked("why", keys.digests()) == first, "a retry in the middle of a rotation is known again"
    del keys.now["m1"]
    assert not {*first} & {*await asked("why", keys.digests())}
