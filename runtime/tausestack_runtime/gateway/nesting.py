"""Reading JSON that is going to be written again, and that everybody has to read alike."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Mapping
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

MAX_BRACKETS = 200_000
"""How many a request may hold, its texts' own included: parsing more holds up everybody else."""

MAX_ESCAPES = 100_000
"""How many escapes a text may hold that is looked through for halves of characters."""

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
    """Return a JSON value as `loads` does, or raise `InvalidRequest` where it is vast or has a key twice.

    Which of the two counts is another answer in another reader: what was checked here would not be what runs there.
    """
    if len(raw) > MAX_BRACKETS:
        _check_brackets(raw)
    value = loads(raw)
    if repeats(raw, value):
        raise InvalidRequest("An object in the body has a key twice: which of them counts would be a guess")
    return value


def repeats(raw: bytes, value: Any) -> bool:
    """Whether an object in some bytes, which were read as a value, has a key twice."""
    written = orjson.dumps(value)
    # Each pair has a colon of its own and keeps the colons of its strings: a pair that is gone takes its colon along.
    return written != raw and written.count(b":") != _colons(raw)


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


def _check_brackets(raw: bytes) -> None:
    found = 0
    for start in range(0, len(raw), _PIECE):  # counting them all would take as long as what it is to prevent
        piece = raw[start : start + _PIECE]
        found += piece.count(b"[") + piece.count(b"{")
        if found > MAX_BRACKETS:
            raise InvalidRequest(f"The body holds more than {MAX_BRACKETS} opening brackets")


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
