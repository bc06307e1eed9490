"""Digests of who called with what, which an idempotency key stands for: who reads the file they are in can't try any.

They are made under keys of the stack's, which lie elsewhere: `{master}:{digest}:{caller}`. A server that runs alone has
none, and makes plain ones.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anyio.to_thread

from tausestack.errors import KeyReused
from tausestack.sealing import Masters

ASKED_SECONDS = 60.0
"""How long keys are known before they are asked for again; a master that leaves holds for ten times as long."""


def arguments_digest(principal: str, arguments: Mapping[str, Any]) -> str:
    """Return the plain digest of who called, with which arguments."""
    text = json.dumps([principal, arguments], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Digest:
    """The digest of one call: as it is kept, and each form in which an earlier call may have left it."""

    kept: str
    known: frozenset[str]
    masters: frozenset[str] = frozenset()
    """The names of the masters that it could be told by."""
    caller: str = ""
    """What stands for who called."""

    def check(self, found: str) -> None:
        """Raise `KeyReused` unless it is the digest that was found under the same key.

        One under a master that is gone, or of another installation, tells who called and not with what: the same
        caller is given what came of it, for that is what a key is repeated for.
        """
        if found in self.known:
            return
        master, _, rest = found.partition(":")
        if rest and master not in self.masters and rest.rpartition(":")[2] == self.caller:
            return
        raise KeyReused("This idempotency key was used before, with other arguments")


NONE = Digest("", frozenset({""}))
"""Of a call without a key."""


class Digests:
    """Makes digests under the keys of now, which are asked for when they may be others."""

    def __init__(self, keys: Masters | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`keys` returns those of now, by master, the current one first; None: digests are plain."""
        self._ask = keys
        self._clock = clock
        self._keys: Mapping[str, bytes] = {}
        self._until = float("-inf")

    async def of(self, tenant: str, principal: str, arguments: Mapping[str, Any]) -> Digest:
        """Return the digest of a tenant's call."""
        plain = arguments_digest(principal, arguments)
        keys = await self._now()
        if not keys:
            return Digest(plain, frozenset({plain}))
        said, caller = f"{tenant}\0{plain}".encode(), hashlib.sha256(principal.encode()).hexdigest()[:16]
        keyed = [f"{master}:{hmac.digest(key, said, 'sha256').hex()}:{caller}" for master, key in keys.items()]
        # Those that were kept before there were keys are honoured; nothing of the kind is kept any more.
        return Digest(keyed[0], frozenset({*keyed, plain}), frozenset(keys), caller)

    async def nested(self, tenant: str, call: str) -> str:
        """Return the key of a call within a keyed one, by all that tells it from others: at a retry it is the same.

        It is made under the master that is about to leave, where another takes over: so it stays the same until then.
        """
        keys = await self._now()
        if not keys:
            return hashlib.sha256(call.encode()).hexdigest()
        return hmac.digest([*keys.values()][-1], f"nested\0{tenant}\0{call}".encode(), "sha256").hex()

    async def _now(self) -> Mapping[str, bytes]:
        """Return the keys of now, by master, the current one first; none where digests are plain."""
        if self._ask is not None and self._clock() >= self._until:
            self._keys = await anyio.to_thread.run_sync(self._ask)
            self._until = self._clock() + ASKED_SECONDS
        return self._keys
