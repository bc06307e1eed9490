"""The keys of an archive: of a passphrase, or of the installation's own master, which opens it nowhere else."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tausestack.errors import InternalError, InvalidRequest
from tausestack.sealing import seal, unseal
from tausestack_runtime.keys import Keys

SALT_BYTES = 16
MIN_PASSPHRASE = 12
_MEMORY = 2**27
_CHECK = b"tausestack/archive/check"


@dataclass(frozen=True, slots=True)
class ArchiveKeys:
    """A key that secrets are sealed by, one that the manifest is, and what the head tells of both."""

    sealing: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    told: dict[str, Any]

    @classmethod
    def of_passphrase(cls, passphrase: str, salt: bytes | None = None) -> ArchiveKeys:
        """Derive the keys; takes a fifth of a second and 64 MB, on purpose."""
        if len(passphrase) < MIN_PASSPHRASE:
            raise InvalidRequest(f"the passphrase has under {MIN_PASSPHRASE} characters: choose a longer one")
        salt = salt or os.urandom(SALT_BYTES)
        raw = hashlib.scrypt(passphrase.encode(), salt=salt, n=2**16, r=8, p=1, maxmem=_MEMORY, dklen=64)
        return cls._made(raw, {"by": "passphrase", "salt": b64encode(salt).decode()})

    @classmethod
    def of_master(cls, master: Keys, salt: bytes | None = None) -> ArchiveKeys:
        """Derive the keys of one of the installation's masters."""
        salt = salt or os.urandom(SALT_BYTES)
        raw = hmac.digest(master.subkey("archives"), salt, "sha512")
        return cls._made(raw, {"by": "master", "master": master.id, "salt": b64encode(salt).decode()})

    @classmethod
    def _made(cls, raw: bytes, told: dict[str, Any]) -> ArchiveKeys:
        mac = raw[32:]
        return cls(raw[:32], mac, {**told, "check": hmac.new(mac, _CHECK, hashlib.sha256).hexdigest()})

    def signed(self, message: bytes) -> str:
        """Return a message's MAC."""
        return hmac.new(self.mac, message, hashlib.sha256).hexdigest()

    def seal(self, bound: bytes, value: bytes) -> bytes:
        """Seal a value for a place."""
        return seal(self.sealing, value, bound)

    def unseal(self, bound: bytes, sealed: bytes) -> bytes:
        """Open a value, or raise `InvalidRequest` where it was sealed for another place."""
        try:
            return unseal(self.sealing, sealed, bound)
        except InternalError as error:
            raise InvalidRequest("a secret of the archive can't be opened: it is not the one that was there") from error


_ANOTHER = "the passphrase is another than the one that it was sealed by: give that one with --passphrase-file"


def keys_for(told: dict[str, Any], passphrase: str | None, masters: Iterable[Keys]) -> ArchiveKeys:
    """Return the keys of an archive by what its head tells, or raise `InvalidRequest` where they are not at hand."""
    try:
        salt = b64decode(str(told.get("salt")), validate=True)
    except ValueError as error:
        raise InvalidRequest("its head is damaged") from error
    if len(salt) != SALT_BYTES:
        raise InvalidRequest("its head is damaged")
    if told.get("by") == "passphrase":
        if passphrase is None:
            raise InvalidRequest("it was sealed by a passphrase: give it with --passphrase-file")
        keys, reason = ArchiveKeys.of_passphrase(passphrase, salt), _ANOTHER
    else:
        found = next((one for one in masters if one.id == told.get("master")), None)
        if found is None:
            raise InvalidRequest(
                "it was sealed by a master key that is not here: its own installation opens it, or one made with a "
                "passphrase (--passphrase-file)"
            )
        keys, reason = ArchiveKeys.of_master(found, salt), "its head is damaged"
    if keys.told != told:
        raise InvalidRequest(reason)
    return keys
