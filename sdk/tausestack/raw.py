"""Raw JSON with types: the gateway works on objects as they came, never on models that drop what they don't know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


def as_object(value: Any) -> dict[str, Any] | None:
    """Return a JSON object, or None where the value is something else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_array(value: Any) -> list[Any] | None:
    """Return a JSON array, or None where the value is something else."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def object_at(value: Any, *path: str) -> dict[str, Any]:
    """Return the object that a path of names leads to, an empty one where it leads to none."""
    found = as_object(value) or {}
    for name in path:
        found = as_object(found.get(name)) or {}
    return found


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON array; what is something else is left out."""
    found = (as_object(each) for each in as_array(value) or [])
    return [each for each in found if each is not None]


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's fields without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}
