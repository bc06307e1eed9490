"""The assertions that our own processes are given: who acts, for which tenant, signed by the gateway."""

from __future__ import annotations

import time
from collections import OrderedDict

from tausestack.contract import Principal
from tausestack.tenancy import cache_key
from tausestack.tokens import ASSERTION_SECONDS, Signing, server_audience

MARGIN_SECONDS = 15
MAX_KEPT = 4096


class Assertions:
    """Signs assertions, and keeps each for as long as it holds."""

    def __init__(self, signer: Signing) -> None:
        self._signer = signer
        self._kid = ""
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def clear(self) -> None:
        """Keep none."""
        self._kept.clear()

    def of(self, principal: Principal, service: str, epoch: str) -> str:
        """Return an assertion for one service that holds for another 15 s at least, by the key that signs now."""
        if self._kid != (kid := self._signer.kid):
            self._kid = kid
            self._kept.clear()
        bounds = "" if principal.bounds is None else ",".join(sorted(principal.bounds))
        key = cache_key(
            principal.tenant, principal.id, epoch, service, principal.agent or "", principal.run or "", principal.role,
            ",".join(sorted(principal.scopes)), str(principal.bounds is None), bounds,
        )  # fmt: skip
        now = time.time()
        known = self._kept.get(key)
        if known is not None and known[1] > now:
            return known[0]
        token = self._signer.sign(principal, server_audience(service), ASSERTION_SECONDS)
        self._kept[key] = (token, now + ASSERTION_SECONDS - MARGIN_SECONDS)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return token
