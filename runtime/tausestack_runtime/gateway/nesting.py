"""Reading JSON that is going to be written again, and that everybody has to read alike."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import orjson

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_VERSION_META,
    META_APPROVAL,
    META_HOLD,
    META_KEY,
    META_PARENT,
)
from tausestack.errors import InvalidRequest

MAX_NESTING = 240
"""Levels of a value that is taken: a few less than can be written, since it travels in envelopes."""

MAX_MARKS = 200_000
"""How many brackets that open, commas and colons a request may have beside its texts: as many as numbers in an array,
half as many keys of an object. Reading more holds up everybody else."""

MAX_ESCAPES = 100_000
"""How many escapes a text may hold that is looked through for halves of characters."""

MAX_COUNTED_BYTES = 256 * 1024
"""How large a request may be whose long numbers are looked at: that takes ten times as long as reading it."""

_MARKS = b"[{,:"
_PIECE = 64 * 1024
_WRITTEN = 254  # what orjson writes; it reads 1024

ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
PARAMS = frozenset({
    "_meta", "name", "arguments", "uri", "cursor", "ref", "argument", "context", "taskId", "notifications", "level",
    "inputResponses", "requestState", "progressToken", "requestId", "protocolVersion", "capabilities", "clientInfo",
})  # fmt: skip
META = frozenset({
    MCP_VERSION_META, MCP_CAPABILITIES_META, MCP_CLIENT_META, META_KEY, META_APPROVAL, META_HOLD, META_PARENT,
    "progressToken",
})  # fmt: skip
_LEVELS = [(known, {key.casefold(): key for key in known}) for known in (ENVELOPE, PARAMS, META)]

_ZEROS, _LONG = bytes.maketrans(b"123456789", b"000000000"), b"0" * 19
_LONG_NUMBER = re.compile(rb"[:\[,]\s*-?[0-9]{19}")
_WHOLE = range(-(2**63), 2**64)
"""The whole numbers that are read and written as they are; others are written as floats."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()
_HEX = rb"[0-9a-fA-F]{2}"
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB]%b(?!\\u[dD][c-fC-F]%b)|(?<!\\u[dD][89abAB]%b\\u[dD])[c-fC-F]%b)" % ((_HEX,) * 4)
)
"""Half a pair of surrogates, escaped: what is left where a text was cut in the middle of a character."""


def loads(raw: bytes) -> Any:
    """Return a JSON value, or raise `orjson.JSONDecodeError`, also for one nested deeper than can be written again.

    What is no character in its texts is read as U+FFFD: JavaScript writes, and reads, half a character as one.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        if (mended := _mended(raw)) is None:
            raise
        value = orjson.loads(mended)
    if len(raw) > 2 * MAX_NESTING and raw.count(b"[") + raw.count(b"{") > MAX_NESTING:
        _check_depth(value)
    return value


def loads_strictly(raw: bytes) -> Any:
    """Return a JSON value as `loads` does, or raise `InvalidRequest`.

    That is where it is vast, and where it would go on as something else: of a key that is there twice another reader
    takes the other, and a whole number of more than 64 bits would be rounded.
    """
    if len(raw) > MAX_MARKS and is_vast(raw):
        raise InvalidRequest(
            f"The body holds more values than are read at once, by {MAX_MARKS} brackets, commas and colons: "
            "send it in parts"
        )
    value = loads(raw)
    written = orjson.dumps(value)
    if written != raw:
        # Each pair has a colon of its own and keeps those of its strings: a pair that is gone takes its colon along.
        if written.count(b":") != _colons(raw):
            raise InvalidRequest("An object in the body has a key twice: which of them counts would be a guess")
        if raw.translate(_ZEROS).find(_LONG) >= 0 and len(raw) <= MAX_COUNTED_BYTES and _LONG_NUMBER.search(raw):
            json.loads(_mended(raw) or raw, parse_int=_check_whole)
    return value


def says_else(raw: bytes, value: Any) -> bool:
    """Whether some bytes say, to some readers, something else than the value that they were read as."""
    written = orjson.dumps(value)
    if written == raw:
        return False
    return written.count(b":") != _colons(raw) or written.find(_REPLACEMENT) >= 0 or raw.startswith(BOM_UTF8)


def check_case(message: Mapping[str, Any], params: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` where a key of MCP's comes in another case, which some readers take for the key itself."""
    if ENVELOPE.issuperset(message) and PARAMS.issuperset(params) and META.issuperset(meta):
        return
    for one, (known, folded) in zip((message, params, meta), _LEVELS, strict=True):
        for key in one:
            if key not in known and key.casefold() in folded:
                raise InvalidRequest(f"The key '{key}' is written '{folded[key.casefold()]}'")


def _mended(raw: bytes) -> bytes | None:
    """Return a JSON text with U+FFFD for what is no character, and without a byte order mark; None where it is so."""
    text = raw.removeprefix(BOM_UTF8)
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode(errors="replace").encode()
    if 0 < text.count(b"\\u") <= MAX_ESCAPES:
        # Without escaped backslashes, each one that is left begins an escape.
        text = _HALF.sub(rb"\\ufffd", text.replace(b"\\\\", rb"\u005c"))
    return None if text == raw else text


def _check_whole(text: str) -> None:
    """Raise `InvalidRequest` for a whole number that would go on as another one."""
    number = int(text)
    if number not in _WHOLE and number != int(rounded := float(text)) and Decimal(repr(rounded)) != number:
        raise InvalidRequest(f"The number {text[:80]} has more than 64 bits and would be rounded: send it as a string")


def is_vast(raw: bytes) -> bool:
    """Whether there are more than `MAX_MARKS` of them beside the texts of some JSON; in texts they cost nothing."""
    if not _is_over(raw[at : at + _PIECE] for at in range(0, len(raw), _PIECE)):
        return False
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    return _is_over(_beside_texts(plain))


def _is_over(pieces: Iterable[bytes]) -> bool:
    found = 0
    for piece in pieces:  # counting them all would take as long as what it is to prevent
        found += len(piece) - len(piece.translate(None, _MARKS))
        if found > MAX_MARKS:
            return True
    return False


def _beside_texts(plain: bytes) -> Iterator[bytes]:
    """Yield what stands beside the texts of a JSON text without escapes of backslashes and quotes."""
    within = False
    for at in range(0, len(plain), _PIECE):
        between = plain[at : at + _PIECE].split(b'"')
        yield b"".join(between[within::2])
        within ^= len(between) % 2 == 0


def _check_depth(value: Any) -> None:
    held = value
    for _ in range(_WRITTEN - MAX_NESTING):
        held = [held]
    try:
        orjson.dumps(held)
    except TypeError as error:
        raise orjson.JSONDecodeError(f"it is nested deeper than {MAX_NESTING}", "", 0) from error


def _colons(raw: bytes) -> int:
    """Return how many colons a JSON text holds, those that are escaped too."""
    found = raw.count(b":")
    if raw.find(b"\\u003") >= 0:  # `in` would first try it as a number, and put an error together
        plain = raw.replace(b"\\\\", b"")  # what is left of backslashes begins an escape
        found += plain.count(b"\\u003a") + plain.count(b"\\u003A")
    return found
