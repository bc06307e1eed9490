"""Schemas that hold inside another document: what they refer to within themselves is written out."""

from __future__ import annotations

from typing import Any

from tausestack.raw import as_array, as_object

MAX_NESTING = 8
"""How deep a schema that refers to itself is written out."""


def rebased(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose `#/…` references still hold inside the document: it becomes a resource of its own."""
    if "$defs" not in schema and "definitions" not in schema:
        return schema
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    return _inlined(
        {name: value for name, value in schema.items() if name not in {"$defs", "definitions"}}, definitions, 0
    )


def _inlined(node: Any, definitions: dict[str, Any], depth: int) -> Any:
    """Put each local definition where it is referred to; one that goes on for ever ends as any value."""
    items = as_array(node)
    if items is not None:
        return [_inlined(item, definitions, depth) for item in items]
    fields = as_object(node)
    if fields is None:
        return node
    reference = fields.get("$ref")
    if isinstance(reference, str) and reference.startswith(("#/$defs/", "#/definitions/")):
        found = definitions.get(reference.rsplit("/", 1)[1])
        if found is None or depth > MAX_NESTING:
            return {}
        rest = {name: value for name, value in fields.items() if name != "$ref"}
        return {**_inlined(found, definitions, depth + 1), **_inlined(rest, definitions, depth)}
    return {name: _inlined(value, definitions, depth) for name, value in fields.items()}
