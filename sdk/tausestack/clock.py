"""The time as it is kept and told."""

from __future__ import annotations

from datetime import UTC, datetime

_UTC = "+00:00"


def place(at: str, key: str) -> str:
    """Return a row's place in a list by time, such as `2026-11-23T10:00:00Z/k3v9`: no query has to encode it."""
    return f"{at}/{key}".replace(_UTC, "Z", 1)


def placed(cursor: str) -> tuple[str, str] | None:
    """Return the time, as it is kept, and the key that a place names, or None for what is none."""
    at, sign, key = cursor.partition("/")
    return (at.replace("Z", _UTC), key) if sign else None


def utc_now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()
