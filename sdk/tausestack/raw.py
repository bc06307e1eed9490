"""Raw JSON with types: the gateway works on objects as they came, never on models that drop what they don't know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_DIGITS = 15
"""How many digits a number may have that comes as text: a few thousand are more than Python reads at all."""


def as_object(value: Any) -> dict[str, Any] | None:
    """Return a JSON object, or None where the value is something else."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] JSON's keys are text


def as_array(value: Any) -> list[Any] | None:
    """Return a JSON array, or None where the value is something else."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] of anything


def object_at(value: Any, *path: str) -> dict[str, Any]:
    """Return the object that a path of names leads to, an empty one where it leads to none."""
    for name in path:
        if not isinstance(value, dict):
            return {}
        value = value.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] JSON's keys are text
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def object_in(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object that an object holds under a name, an empty one where it holds none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType] as above


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON array; what is something else is left out."""
    found = (as_object(each) for each in as_array(value) or [])
    return [each for each in found if each is not None]


def number_of(text: str) -> int | None:
    """Return the number that a text writes in plain digits, `MAX_DIGITS` at most; None where it is something else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object's fields without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}
