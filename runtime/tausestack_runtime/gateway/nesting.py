"""Reading JSON that is going to be written again."""

from __future__ import annotations

from typing import Any

import orjson

MAX_NESTING = 240
"""Levels of a value that is taken: a few less than can be written, since it travels in envelopes."""

_WRITTEN = 254  # what orjson writes; it reads 1024


def loads(raw: bytes) -> Any:
    """Return a JSON value, or raise `orjson.JSONDecodeError`, also for one nested deeper than can be written again."""
    value = orjson.loads(raw)
    if raw.count(b"[") + raw.count(b"{") > MAX_NESTING:
        held = value
        for _ in range(_WRITTEN - MAX_NESTING):
            held = [held]
        try:
            orjson.dumps(held)
        except TypeError as error:
            raise orjson.JSONDecodeError(f"it is nested deeper than {MAX_NESTING}", "", 0) from error
    return value
