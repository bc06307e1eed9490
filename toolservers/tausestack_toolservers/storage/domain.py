"""What may be stored, and under which keys."""

from __future__ import annotations

import json
import re
from typing import Any

from tausestack.errors import InvalidArguments, PayloadTooLarge

MAX_KEY = 512
MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of one document's JSON."""

_KEY = re.compile(r"[a-zA-Z0-9._-][a-zA-Z0-9._/-]*")


def check_key(key: str) -> str:
    """Return a document's key, or raise `InvalidArguments` saying what one looks like."""
    if len(key) > MAX_KEY or not _KEY.fullmatch(key) or ".." in key:
        raise InvalidArguments(
            f"'{key[:80]}' can't be a key: up to {MAX_KEY} of A-Z, a-z, 0-9, '.', '_', '/', '-', not starting with '/'"
            " and without '..'"
        )
    return key


def encode(value: Any) -> str:
    """Return a JSON value as text, or raise `PayloadTooLarge`, or `InvalidArguments` for what JSON has no word for."""
    try:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise InvalidArguments("the value is not JSON: NaN and infinity can't be stored") from error
    if len(text) > MAX_DOCUMENT:
        raise PayloadTooLarge(f"a document has at most {MAX_DOCUMENT} bytes; this one has {len(text)}")
    return text


def decode(text: str) -> Any:
    """Return the value of a stored document."""
    return json.loads(text)
