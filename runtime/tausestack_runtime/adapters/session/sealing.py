"""`requestState`: what a caller carries from one round to the next, and can neither read nor change."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import time
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tausestack_runtime.adapters.asked import Asked, invalid

_CONTEXT = b"tausestack/request-state"
_NONCE_BYTES = 12
_CHANGING = frozenset({"_meta", "inputResponses", "requestState"})


@dataclass(frozen=True)
class State:
    """What a `requestState` says: whose it is, for which request of which server, until when."""

    server: str
    principal: str
    digest: str
    """Of the request: another one may not bear this state."""
    expires: float
    waiting: str
    """The name of the call that waits; empty where the request is simply made anew."""
    round: int


class Sealer:
    """Seals states under a key that lives as long as this process, as do the calls that wait."""

    def __init__(self) -> None:
        self._cipher = AESGCM(os.urandom(32))

    def seal(self, state: State) -> str:
        """Return a state as the caller gets it."""
        nonce = os.urandom(_NONCE_BYTES)
        return _text(nonce + self._cipher.encrypt(nonce, orjson.dumps(asdict(state)), _CONTEXT))

    def open(self, sealed: Any, server: str, asked: Asked) -> State:
        """Return what a caller brought back, or raise `Answered` where it is not his, not for this, or not any more."""
        state = self._opened(sealed)
        if state is None:
            raise invalid("this requestState is none of this server's, or its call is gone")
        if state.server != server or state.principal != asked.principal or state.digest != digest(asked):
            raise invalid("this requestState belongs to another request")
        if state.expires < time.time():
            raise invalid("this requestState has expired: make the request anew")
        return state

    def _opened(self, sealed: Any) -> State | None:
        if not isinstance(sealed, str):
            return None
        try:
            raw = base64.urlsafe_b64decode(sealed)
            if _text(raw) != sealed:
                return None  # another spelling of the same bytes
            opened = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _CONTEXT)
        except (binascii.Error, UnicodeError, ValueError, InvalidTag):
            return None
        return State(**orjson.loads(opened))


def digest(asked: Asked) -> str:
    """Return the SHA-256 of what a request asks, apart from what changes between its rounds."""
    params = {key: value for key, value in asked.params.items() if key not in _CHANGING}
    return hashlib.sha256(orjson.dumps([asked.method, params], option=orjson.OPT_SORT_KEYS)).hexdigest()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()
