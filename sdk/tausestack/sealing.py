"""Sealing: AES-256-GCM, each value bound to its place, so that none opens anywhere else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from tausestack.errors import InternalError

KEY_BYTES = 32
NONCE_BYTES = 12

Masters = Callable[[], Mapping[str, bytes]]
"""Returns the keys that a service's data keys are sealed with, by the master's version, the current one first.

It may take a moment and block; asked again, it returns what holds then.
"""


def new_key() -> bytes:
    """Return 32 random bytes."""
    return os.urandom(KEY_BYTES)


def place(*parts: str | int) -> bytes:
    """Return what a sealed value is bound to: tenant, table, row and version, each framed, so that none runs over."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()


def seal(key: bytes, value: bytes, bound: bytes) -> bytes:
    """Return a value's sealed form: a nonce and the ciphertext."""
    # What needs cryptography imports it when it first seals: a server that keeps no secrets never does.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, value, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Return the value, or raise `InternalError` where it was sealed for another place or by another key."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError) as error:
        raise InternalError("a secret can't be opened: sealed by another key or for another place") from error
