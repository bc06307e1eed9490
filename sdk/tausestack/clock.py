"""The time as it is kept and told."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()
