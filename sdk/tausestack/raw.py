"""Raw JSON with types: the gateway works on objects as they came, never on models that drop what they don't know."""

from __future__ import annotations

from typing import Any, cast


def as_object(value: Any) -> dict[str, Any] | None:
    """Return a JSON object, or None where the value is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_array(value: Any) -> list[Any] | None:
    """Return a JSON array, or None where the value is something else."""
    return cast("list[Any]", value) if isinstance(value, list) else None
