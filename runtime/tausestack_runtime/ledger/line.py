"""A line of the ledger, the bytes that it is kept as, and its link in the chain."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Required, TypedDict

import orjson

FIRST_HASH = b"0" * 64
"""What the first line of a chain is linked to."""


class Line(TypedDict, total=False):
    """What a ledger keeps of one step of a call.

    `at` is UTC in ISO 8601; sizes are bytes; digests are SHA-256 in hexadecimal. An absent value is
    left out, or "" or 0.
    """

    tenant: Required[str]
    call: Required[str]
    kind: Required[str]
    """intent, before it is sent; then its one end: result, or denied, where it was not sent."""
    at: Required[str]
    principal: str
    agent: str
    run: str
    parent: str
    """The call in whose course this one was made."""
    door: str
    server: str
    tool: str
    decision: str
    rule: str
    outcome: str
    """done, failed, input_required, in_doubt, denied, waiting, cancelled; "" before the end."""
    error: str
    arguments_digest: str
    result_digest: str
    bytes_in: int
    bytes_out: int
    duration_us: int
    price: str
    """The tool's price class."""
    amount_minor: int
    """What the call costs, in minor units of the currency."""
    currency: str
    price_version: str
    """The price list that the amount is from."""
    trace: str


FIELDS = tuple(Line.__annotations__)
ENDS = frozenset({"result", "denied"})
"""The kinds of lines with which a call ends."""
INTEGERS = frozenset({"bytes_in", "bytes_out", "duration_us", "amount_minor"})

_BEFORE_HASH, _AFTER_HASH = b',"hash":"', b'"}\n'
_HASH_BYTES = 64
_TAIL_BYTES = len(_BEFORE_HASH) + _HASH_BYTES + len(_AFTER_HASH)


def moment() -> str:
    """Return what time it is, as lines have it, to the microsecond."""
    now = time.time_ns() // 1000
    return f"{_second(now // 1_000_000)}.{str(now)[-6:]}+00:00"


@lru_cache(2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def body(line: Line) -> bytes:
    """Return a line's values as JSON without the braces; raises `TypeError` for what JSON has no word for."""
    return orjson.dumps(line)[1:-1]


def link(previous: bytes, text: bytes) -> bytes:
    """Return the hash of a line's text, which is all of it before its own hash, that follows another's hash."""
    return hashlib.sha256(previous + text).hexdigest().encode()


def kept(text: bytes, linked: bytes) -> bytes:
    """Return a line as it lies in the file."""
    return text + _BEFORE_HASH + linked + _AFTER_HASH


def parted(raw: bytes) -> tuple[bytes, bytes] | None:
    """Return text and hash of a line as it lies in the file, its end included; None for what is no such line."""
    text, tail = raw[:-_TAIL_BYTES], raw[-_TAIL_BYTES:]
    if not tail.startswith(_BEFORE_HASH) or not tail.endswith(_AFTER_HASH) or not text.startswith(b"{"):
        return None
    return text, tail[len(_BEFORE_HASH) : -len(_AFTER_HASH)]


def is_end(raw: bytes) -> bool:
    """Return whether a line as it lies in the file is a call's end; within a text its quotes would be escaped."""
    return b'"kind":"result"' in raw or b'"kind":"denied"' in raw
