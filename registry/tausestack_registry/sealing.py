"""Secrets at rest: sealed to the tenant, the table, the row and the version, so that none can be moved elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tausestack.errors import InternalError, Unavailable

NONCE_BYTES = 12
VERSION = 1
"""Of the sealed form; it is kept beside each value, and part of what the seal is bound to."""


class Sealer:
    """Seals and opens a tenant's secrets with AES-256-GCM."""

    def __init__(self, key: bytes | None) -> None:
        """Take the key of 32 bytes; None: the registry runs alone, where it keeps no secrets."""
        self._key = key

    @property
    def _cipher(self) -> AESGCM:
        if self._key is None:
            raise Unavailable("the registry runs alone, without the key that secrets are sealed with")
        return AESGCM(self._key)

    def seal(self, value: str, *, tenant: str, row: str, version: int) -> bytes:
        """Return a secret's sealed form: a nonce and the ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.encode(), _bound(tenant, row, version))

    def open(self, sealed: bytes, *, tenant: str, row: str, version: int) -> str:
        """Return the secret, or raise `InternalError` where it was sealed for another place or by another key."""
        try:
            value = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _bound(tenant, row, version))
        except InvalidTag as error:
            raise InternalError("a secret can't be opened: another master key, or a row tampered with") from error
        return value.decode()

    def seal_all(self, values: Mapping[str, str], *, tenant: str, server: str) -> dict[str, tuple[int, bytes]]:
        """Return a server's secrets as (version, sealed) by name."""
        return {
            name: (VERSION, self.seal(value, tenant=tenant, row=f"{server}/{name}", version=VERSION))
            for name, value in values.items()
        }

    def open_all(self, kept: Mapping[str, tuple[int, bytes]], *, tenant: str, server: str) -> dict[str, str]:
        """Return the secrets that `seal_all` sealed, by name; raises as `open` does."""
        return {
            name: self.open(sealed, tenant=tenant, row=f"{server}/{name}", version=version)
            for name, (version, sealed) in kept.items()
        }


def _bound(tenant: str, row: str, version: int) -> bytes:
    return "|".join((tenant, "secrets", row, str(version))).encode()
