"""A line of the ledger, its canonical form and its link in the chain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import orjson

FIRST_HASH = "0" * 64
"""What the first line of a chain is linked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
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


FIELDS = tuple(field.name for field in fields(Line))
INTEGERS = frozenset({"bytes_in", "bytes_out", "duration_us"})


def canonical(values: tuple[Any, ...]) -> bytes:
    """Return the canonical JSON of a line's values (in the order of `FIELDS`), without the absent ones.

    Absent values are left out so that a field added later leaves earlier links as they are. Raises `TypeError` for
    what is not JSON.
    """
    present = {name: value for name, value in zip(FIELDS, values, strict=True) if value not in {"", 0}}
    return orjson.dumps(present, option=orjson.OPT_SORT_KEYS)


def link(previous: str, line: bytes) -> str:
    """Return the hash of a canonical line that follows another's hash."""
    return hashlib.sha256(previous.encode() + line).hexdigest()
