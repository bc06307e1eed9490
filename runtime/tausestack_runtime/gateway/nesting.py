"""Reading JSON that is going to be written again, and that everybody has to read alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


def loads(raw: bytes) -> Any:
    """Return a JSON value, or raise `orjson.JSONDecodeError`, also for one nested deeper than can be written again."""
    value = orjson.loads(raw)
    if len(raw) > 2 * MAX_NESTING and raw.count(b"[") + raw.count(b"{") > MAX_NESTING:
        _check_depth(value)
    return value


def loads_strictly(raw: bytes) -> Any:
    """Return a JSON value as `loads` does, or raise `InvalidRequest` where it is vast or has a key twice.

    Which of the two counts is another answer in another reader: what was checked here would not be what runs there.
    """
    if len(raw) > MAX_MARKS and is_vast(raw):
        raise InvalidRequest(
            f"The body holds more values than are read at once, by {MAX_MARKS} brackets, commas and colons: "
            "send it in parts"
        )
    value = loads(raw)
    if repeats(raw, value):
        raise InvalidRequest("An object in the body has a key twice: which of them counts would be a guess")
    return value


def repeats(raw: bytes, value: Any) -> bool:
    """Whether an object in some bytes, which were read as a value, has a key twice."""
    written = orjson.dumps(value)
    # Each pair has a colon of its own and keeps the colons of its strings: a pair that is gone takes its colon along.
    return written != raw and written.count(b":") != _colons(raw)


def check_case(message: Mapping[str, Any], params: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` where a key of MCP's comes in another case, which some readers take for the key itself."""
    if ENVELOPE.issuperset(message) and PARAMS.issuperset(params) and META.issuperset(meta):
        return
    for one, (known, folded) in zip((message, params, meta), _LEVELS, strict=True):
        for key in one:
            if key not in known and key.casefold() in folded:
                raise InvalidRequest(f"The key '{key}' is written '{folded[key.casefold()]}'")


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
