"""Registrations of clients, signed: a client has no other place, and can't be asked to register when a master leaves.

Each of this service's own keys has a pair for them. The public halves are kept in `_system` and for good, so that what
was registered outlives the master by which it was, and nothing that could sign is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from tausestack.access_tokens import ALGORITHM, derived, part, private_key, public_key
from tausestack.database import TenantDatabases
from tausestack.errors import Unauthenticated
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack_toolservers.auth.tables import client_keys

_PURPOSE = "registrations"
_TYPE = "oauth-registration+jwt"


class Registrations:
    """Signs registrations, and tells those that were signed here from all others."""

    def __init__(self, databases: TenantDatabases) -> None:
        self._databases = databases
        self._taken: tuple[bytes, ...] = ()
        self._key: OKPKey | None = None
        self._known: Mapping[str, OKPKey] = {}

    async def take(self, keys: Sequence[bytes]) -> None:
        """Sign by the first of some keys from now on; what each of them can sign is believed for good."""
        if tuple(keys) == self._taken:
            return
        pairs = [private_key(derived(key, _PURPOSE)) for key in keys]
        self._known = await self._kept({pair.thumbprint(): str(pair.as_dict(private=False)["x"]) for pair in pairs})
        self._key, self._taken = pairs[0], tuple(keys)

    def text(self, value: dict[str, Any]) -> str:
        """Return an object, signed."""
        if self._key is None:
            raise RuntimeError("no key was taken to sign by")
        raw = json.dumps(value, separators=(",", ":")).encode()
        # Its type first: what is kept of it with a grant begins as no token does.
        header = {"typ": _TYPE, "alg": ALGORITHM, "kid": self._key.thumbprint()}
        return jws.serialize_compact(header, raw, self._key, algorithms=[ALGORITHM])

    def read(self, text: str) -> dict[str, Any] | None:
        """Return what was signed here, or None."""
        try:
            header = part(text, 0)
            key = self._known.get(str(header.get("kid")))
            if key is None or header.keys() != {"alg", "kid", "typ"} or header["typ"] != _TYPE:
                return None
            return as_object(json.loads(jws.deserialize_compact(text, key, algorithms=[ALGORITHM]).payload))
        except (Unauthenticated, JoseError, ValueError, TypeError):
            return None

    async def _kept(self, public: Mapping[str, str]) -> dict[str, OKPKey]:
        """Keep public keys that are not kept yet, and return all that are."""
        every = sa.select(client_keys.c.kid, client_keys.c.public)
        async with self._databases.reading(SYSTEM_TENANT) as db:
            found = {row.kid: row.public for row in await db.execute(every)}
        if not public.keys() <= found.keys():
            async with self._databases.transaction(SYSTEM_TENANT) as db:
                found = {row.kid: row.public for row in await db.execute(every)}
                for kid in public.keys() - found.keys():
                    await db.execute(sa.insert(client_keys).values(kid=kid, public=public[kid]))
        return {kid: public_key({"x": x}) for kid, x in {**found, **public}.items()}
