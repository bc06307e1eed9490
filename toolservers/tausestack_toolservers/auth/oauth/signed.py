"""What this service writes to itself and others carry: signed by its own keys, which a rotation replaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from tausestack.access_tokens import derived
from tausestack.raw import as_object


class Signed:
    """Signs JSON objects for one purpose."""

    def __init__(self, purpose: str) -> None:
        self._type = f"{purpose}+jwt"
        self._purpose = purpose
        self._keys: list[OctKey] = []

    def take(self, keys: Sequence[bytes]) -> None:
        """Sign by the first of some keys from now on, and believe what each signed."""
        self._keys = [OctKey.import_key(derived(key, self._purpose)) for key in keys]

    def text(self, value: dict[str, Any]) -> str:
        """Return an object, signed."""
        raw = json.dumps(value, separators=(",", ":")).encode()
        return jws.serialize_compact({"alg": "HS256", "typ": self._type}, raw, self._keys[0], algorithms=["HS256"])

    def read(self, text: str) -> dict[str, Any] | None:
        """Return what was signed for this purpose, or None where it was not, or not by us."""
        for key in self._keys:
            try:
                found = jws.deserialize_compact(text, key, algorithms=["HS256"])
            except (JoseError, ValueError, TypeError):
                continue
            return as_object(json.loads(found.payload)) if found.headers().get("typ") == self._type else None
        return None
