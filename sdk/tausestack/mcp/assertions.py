"""Who calls: the gateway's assertion, verified once and remembered until it expires."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from tausestack.contract import Principal
from tausestack.errors import Unauthenticated
from tausestack.tenancy import credential_hash
from tausestack.tokens import Jwks, Verifier, server_audience

_REMEMBERED = 1024


class Assertions:
    """Verifies the assertions made for one server, and for one tenant where `tenant` names it."""

    def __init__(self, jwks: Jwks, server: str, tenant: str | None = None) -> None:
        self._verifier = Verifier(jwks, server_audience(server))
        self._tenant = tenant
        self._known: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._by: Mapping[str, Any] | None = None

    def principal(self, assertion: str | None) -> Principal:
        """Return who acts, or raise `Unauthenticated`."""
        if not assertion:
            raise Unauthenticated("A call needs the gateway's assertion")
        keys = self._verifier.current()
        if keys is not self._by:  # what a key vouched for that was retired meanwhile holds no longer
            self._by = keys
            self._known.clear()
        key = credential_hash(assertion)
        found = self._known.get(key)
        if found is None or found[1] <= time.time():
            self._known.pop(key, None)
            found = self._verifier.verify(assertion)
            if self._tenant is not None and found[0].tenant != self._tenant:
                raise Unauthenticated("the assertion is for another tenant")
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found[0]


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token of a request's headers (lower-case names), or None."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
