"""The keys of assertions and delegations: one signs, those before it hold until all that they signed has expired."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tausestack.contract import Principal
from tausestack.errors import NotFound, Unavailable
from tausestack.raw import objects_in
from tausestack.tokens import RETIRES, JwksFile, Signer
from tausestack_runtime.keys import Keys, Masters

JWKS_FILE = "jwks.json"
LONGEST_TOKEN_SECONDS = 3600
"""How long a token may live: what `tausestack token --seconds` allows."""
HELD_SECONDS = LONGEST_TOKEN_SECONDS + 60
"""How long a key that gave way still holds: longer than any token that it signed."""

_LABEL = "pro.tause/label"
"""In a published key: what its private half is derived from the master secret by."""
_MADE = "iat"
"""In a published key: when it was made, in seconds since the epoch."""


class SigningKeys:
    """The signing keys of a stack; `{data}/jwks.json` holds their public halves, and every process follows it."""

    def __init__(self, data: Path, masters: Masters, *, clock: Callable[[], float] = time.time) -> None:
        self.path = data / JWKS_FILE
        self._masters = masters
        self._clock = clock
        self._file = JwksFile(self.path)
        self._by: Mapping[str, Any] | None = None
        self._signer: Signer | None = None

    def jwks(self) -> Mapping[str, Any]:
        """Return the public keys that hold now."""
        return self._file()

    @property
    def kid(self) -> str:
        """The name of the key that signs now."""
        return self._current().kid

    def sign(self, principal: Principal, audience: str, seconds: int) -> str:
        """Return a token, as `Signer.sign` does, by the key that signs now."""
        return self._current().sign(principal, audience, seconds)

    def ensure(self, older_than: float | None = None) -> str:
        """Return the name of the key that signs; make one where there is none that the current master gives.

        One that is as old as some seconds gives way, and those that hold no longer are published no longer.
        """
        with self._locked():
            keys = self._holding()
            newest = keys[0] if keys else {}
            age = self._clock() - float(newest.get(_MADE, 0))
            if (older_than is not None and age >= older_than) or self._derive(newest, self._masters.current) is None:
                return self._give_way(keys)
            if len(keys) < len(self._file()["keys"]):
                self._write(keys)
            return str(newest["kid"])

    def rotate(self) -> str:
        """Make a key that signs from now on, and return its name; those before it hold until their tokens ended."""
        with self._locked():
            return self._give_way(self._holding())

    def retire(self, kid: str) -> None:
        """Let a key hold no longer, at once; what it signed is refused. The one that signs gives way before."""
        with self._locked():
            keys = self._holding()
            if not any(key["kid"] == kid for key in keys):
                raise NotFound(f"there is no signing key {kid[:80]}")
            if keys[0]["kid"] == kid:
                self._give_way(keys)
                keys = self._holding()
            self._write([key for key in keys if key["kid"] != kid])

    def _current(self) -> Signer:
        found = self._file()
        if found is not self._by or self._signer is None:
            newest = next(iter(objects_in(found["keys"])), None)
            signer = None if newest is None else self._derive(newest, *self._masters.live())
            if signer is None:
                raise Unavailable("there is no key to sign with: start the stack once")
            self._by, self._signer = found, signer
        return self._signer

    def _derive(self, key: Mapping[str, Any], *masters: Keys) -> Signer | None:
        """Return a published key with its private half, or None where none of some masters gives that."""
        for master in masters:
            signer = Signer(master.subkey(f"signing/{key.get(_LABEL)}"), clock=self._clock)
            if signer.kid == key.get("kid"):
                return signer
        return None

    def _holding(self) -> list[dict[str, Any]]:
        """Return the keys that hold, the newest first."""
        now = self._clock()
        return [key for key in objects_in(self._file()["keys"]) if float(key.get(RETIRES, now + 1)) > now]

    def _give_way(self, keys: list[dict[str, Any]]) -> str:
        """Put a new key before those there are, and return its name."""
        now = int(self._clock())
        label = secrets.token_hex(8)
        signer = Signer(self._masters.current.subkey(f"signing/{label}"))
        (public,) = signer.jwks()["keys"]
        older = [{**key, RETIRES: min(now + HELD_SECONDS, float(key.get(RETIRES, now + HELD_SECONDS)))} for key in keys]
        self._write([{**public, _MADE: now, _LABEL: label}, *older])
        return signer.kid

    def _write(self, keys: list[dict[str, Any]]) -> None:
        fresh = self.path.with_name(f".{JWKS_FILE}.{secrets.token_hex(4)}")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"keys": keys}, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise Unavailable(f"can't write {self.path.name}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Generator[None]:
        lock = os.open(self.path.with_name(f".{JWKS_FILE}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
