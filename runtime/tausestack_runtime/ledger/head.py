"""The first line of a chain's file: how far the chain goes, sealed, so that a missing tail is noticed."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from tausestack.raw import as_object, object_at
from tausestack_runtime.ledger.line import FIRST_HASH

HEAD_BYTES = 1024
FORMAT = 1
_TEXT = b'{"ledger":%d,"tenant":"%s","lines":%d,"calls":%d,"bytes":%d,"hash":"%s","latest":"%s"%s'
_SEAL = b',"seal":"'


class BrokenHead(Exception):
    """What is wrong with a head."""


@dataclass(slots=True)
class Head:
    """How far a chain goes: its lines, calls that have ended, bytes with the head's own, last hash, latest time.

    `open` says for each gateway at which byte its first intent without an end lies.
    """

    tenant: str
    lines: int = 0
    calls: int = 0
    bytes: int = HEAD_BYTES
    hash: bytes = FIRST_HASH
    latest: str = ""
    open: dict[str, int] = field(default_factory=dict[str, int])


def pack(head: Head, key: bytes) -> bytes:
    """Return a head as it lies in the file, sealed with a key."""
    text = _TEXT % (
        FORMAT,
        head.tenant.encode(),
        head.lines,
        head.calls,
        head.bytes,
        head.hash,
        head.latest.encode(),
        b',"open":' + orjson.dumps(head.open) if head.open else b"",
    )
    return _sealed(text, key)


def unpack(raw: bytes, tenant: str, keys: Sequence[bytes]) -> Head:
    """Return the head in a file's first bytes, or raise `BrokenHead`; any of the keys may have sealed it."""
    text, found, _ = raw.partition(_SEAL)
    if len(raw) != HEAD_BYTES or not found:
        raise BrokenHead("the first line is no head")
    if not any(hmac.compare_digest(_sealed(text, key), raw) for key in keys):
        raise BrokenHead("the head's seal is wrong")
    said = as_object(orjson.loads(text + b"}")) or {}
    if said["ledger"] != FORMAT:
        raise BrokenHead(f"the file has format {said['ledger']}, which this release does not read")
    if said["tenant"] != tenant:
        raise BrokenHead("the file is another tenant's")
    return Head(
        tenant=tenant,
        lines=said["lines"],
        calls=said["calls"],
        bytes=said["bytes"],
        hash=said["hash"].encode(),
        latest=said["latest"],
        open=object_at(said, "open"),
    )


def _sealed(text: bytes, key: bytes) -> bytes:
    whole = text + _SEAL + hmac.digest(key, text, "sha256").hex().encode() + b'"}'
    return whole.ljust(HEAD_BYTES - 1) + b"\n"
