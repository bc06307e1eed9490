"""A line of the ledger, its canonical form and its link in the chain."""

from __future__ import annotations

import hashlib
from itertools import compress
from typing import Any, NamedTuple

import orjson

FIRST_HASH = "0" * 64
"""What the first line of a chain is linked to."""


class Line(NamedTuple):
    """What a ledger keeps of one step of a call.

    `at` is UTC in ISO 8601; sizes are bytes; digests are SHA-256 in hexadecimal. An absent value is "" or 0.
    """

    tenant: str
    call: str
    kind: str
    """intent, result, denied, decision."""
    at: str
    principal: str = ""
    agent: str = ""
    run: str = ""
    door: str = ""
    server: str = ""
    tool: str = ""
    decision: str = ""
    rule: str = ""
    outcome: str = ""
    """done, failed, input_required, in_doubt, denied, waiting, cancelled; "" before the end."""
    error: str = ""
    arguments_digest: str = ""
    result_digest: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    duration_us: int = 0
    price: str = ""
    """The tool's price class."""
    trace: str = ""


FIELDS = Line._fields
INTEGERS = frozenset({"bytes_in", "bytes_out", "duration_us"})


def canonical(values: tuple[Any, ...]) -> bytes:
    """Return the canonical JSON of a line's values (in the order of `FIELDS`), without the absent ones.

    Absent values, "" and 0, are left out so that a field added later leaves earlier links as they are. Raises
    `TypeError` for what is not JSON.
    """
    present = dict(compress(zip(FIELDS, values, strict=True), values))
    return orjson.dumps(present, option=orjson.OPT_SORT_KEYS)


def link(previous: str, line: bytes) -> str:
    """Return the hash of a canonical line that follows another's hash."""
    return hashlib.sha256(previous.encode() + line).hexdigest()
