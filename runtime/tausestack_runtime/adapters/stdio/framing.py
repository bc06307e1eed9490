"""JSON-RPC messages, one a line, from a process that may be hostile."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import orjson

from tausestack.raw import as_object
from tausestack_runtime.gateway.nesting import MAX_NESTING, loads

MAX_LINE_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
_EDGE_BYTES = 200
_BEGIN = re.compile(rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*([0-9]{1,18})\s*,\s*"(?:result|error)"')
_END = re.compile(rb',\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*([0-9]{1,18})\s*\}\s*\Z')
"""How the official SDKs write a response: its id at the begin, or at the end."""


class LineTooLong(Exception):
    """A line grew over the limit before it ended."""


async def lines(reader: asyncio.StreamReader, *, limit: int = MAX_LINE_BYTES) -> AsyncIterator[bytes]:
    """Yield whole lines without their newline; raise `LineTooLong` over the limit.

    Every byte is looked at once, however small the chunks that it comes in; a last line without an end is dropped.
    """
    parts: list[bytes] = []
    size = 0
    while chunk := await reader.read(CHUNK_BYTES):
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            parts.append(chunk[start:end])
            if size + end - start > limit:
                raise LineTooLong
            yield b"".join(parts)
            parts, size, start = [], 0, end + 1
        if start < len(chunk):
            parts.append(chunk[start:])
            size += len(chunk) - start
            if size > limit:
                raise LineTooLong


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None where it holds something else, or what can't be written again."""
    try:
        return as_object(loads(line))
    except orjson.JSONDecodeError:
        return None


def too_deep(line: bytes) -> bool:
    """Return whether a line that is no message may have been one, but for its nesting."""
    return line.startswith(b"{") and line.count(b"[") + line.count(b"{") > MAX_NESTING


def answered(line: bytes) -> int | None:
    """Return which of our requests a line that can't be read answers, as far as its begin or its end tells."""
    found = _BEGIN.match(line[:_EDGE_BYTES]) or _END.search(line[-_EDGE_BYTES:])
    return None if found is None else int(found[1])


def encode(message: dict[str, Any]) -> bytes:
    """Return a message as the line that is sent."""
    return orjson.dumps(message) + b"\n"
