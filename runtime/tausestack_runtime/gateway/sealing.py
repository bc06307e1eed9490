"""Tokens that hold something only the gateways can read, and that nobody can change."""

from __future__ import annotations

import base64
import binascii
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tausestack.raw import as_object

NONCE_BYTES = 12
MAX_TOKEN = 4096
"""Characters of a token; a longer one is refused unread, and none is given out."""
MAX_OPENED_BYTES = 65_536

_LEVEL = 6


class Sealer:
    """Seals JSON objects with AES-256-GCM, each for one purpose and whatever else it is bound to."""

    def __init__(self, keys: bytes | Callable[[], Sequence[bytes]], *, most: int = MAX_TOKEN) -> None:
        """Take a key of 32 bytes, or what returns those of now: the first seals, and each that was seen opens.

        `most` is how many characters a token may have.
        """
        self._most = most
        self._keys = keys if callable(keys) else lambda: (keys,)
        self._ciphers: dict[bytes, AESGCM] = {}
        self._sealing()

    def _sealing(self) -> AESGCM:
        """Return the cipher of now, having taken note of every key there is."""
        keys = self._keys()
        for key in keys:
            if key not in self._ciphers:
                self._ciphers[key] = AESGCM(key)
        return self._ciphers[keys[0]]

    def seal(self, value: dict[str, Any], *bound: str) -> str:
        """Return a token of visible ASCII; it opens only where the same words are given again.

        Raises `ValueError` where it would be too long, or hold more than is opened again.
        """
        nonce = os.urandom(NONCE_BYTES)
        plain = orjson.dumps(value)
        if len(plain) > MAX_OPENED_BYTES:
            raise ValueError("there is too much to seal")
        packed = zlib.compress(plain, _LEVEL)
        token = base64.urlsafe_b64encode(nonce + self._sealing().encrypt(nonce, packed, _words(bound))).decode()
        if len(token) > self._most:
            raise ValueError("there is too much to seal")
        return token

    def open(self, token: str, *bound: str) -> dict[str, Any] | None:
        """Return what was sealed, or None where it was sealed for something else, by somebody else, or changed."""
        if len(token) > self._most:
            return None
        try:
            sealed = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(sealed).decode() != token:
                return None  # another spelling of the same bytes
        except (UnicodeEncodeError, binascii.Error, ValueError):
            return None
        packed = self._decrypted(sealed, _words(bound))
        if packed is None:
            return None
        opened = zlib.decompressobj().decompress(packed, MAX_OPENED_BYTES)
        return as_object(orjson.loads(opened))

    def _decrypted(self, sealed: bytes, bound: bytes) -> bytes | None:
        self._sealing()
        for cipher in self._ciphers.values():
            with suppress(InvalidTag, ValueError):  # another key's, or nobody's
                return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        return None


def _words(bound: tuple[str, ...]) -> bytes:
    return orjson.dumps(bound)
