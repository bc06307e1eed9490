"""The hash by which a third party's tool is approved."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def digest(tool: dict[str, Any]) -> str:
    """Return the SHA-256 of a raw tool object, every field of it, as canonical JSON."""
    return hashlib.sha256(orjson.dumps(tool, option=orjson.OPT_SORT_KEYS)).hexdigest()
