"""Third parties' definitions as every client reads them: one that a client can't would cost it the whole merged list.

What a definition may leave out is left out where it is null or of another kind, as the official clients check all of a
list before they show any of it; its meaning stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tausestack.raw import as_array, as_object, objects_in

_KINDS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "description": str,
    "mimeType": str,
    "size": (int, float),
    "annotations": dict,
    "outputSchema": dict,
    "execution": dict,
    "arguments": list,
    "icons": list,
    "_meta": dict,
}
_ANNOTATIONS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "readOnlyHint": bool,
    "destructiveHint": bool,
    "idempotentHint": bool,
    "openWorldHint": bool,
    "audience": list,
    "priority": (int, float),
    "lastModified": str,
}
_OF_SCHEMAS: dict[str, type | tuple[type, ...]] = {"properties": dict, "required": list}
_NAMED_BY = {"prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate"}


def tool(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's definition."""
    shown = _kept(raw, _KINDS)
    for name in ("inputSchema", "outputSchema"):
        if name in shown:
            shown[name] = _schema(shown[name])
    schema = as_object(shown.get("inputSchema"))
    if schema is not None and "type" not in schema:
        schema = shown["inputSchema"] = {"type": "object", **schema}
    if schema is not None and "properties" not in schema:
        # A tool without arguments has none in many servers, and some clients and models' APIs count on them.
        shown["inputSchema"] = {**schema, "properties": {}}
    return _annotated(shown)


def item(kind: str, raw: dict[str, Any], server: str) -> dict[str, Any] | None:
    """Return a prompt's, a resource's or a template's definition, or None for what nobody could ask for.

    A prompt's missing description is filled in, as a tool's is.
    """
    named = raw.get(_NAMED_BY[kind])
    if not isinstance(named, str) or not named:
        return None
    shown = _kept(raw, _KINDS)
    if not isinstance(shown.get("name"), str):
        shown["name"] = named
    if kind == "prompts" and not shown.get("description"):
        shown["description"] = f"{named} of {server}"
    if kind == "prompts" and "arguments" in shown:
        wanted = [_kept(one, {**_KINDS, "required": bool}) for one in objects_in(shown["arguments"])]
        shown["arguments"] = [one for one in wanted if isinstance(one.get("name"), str)]
    return _annotated(shown)


def _annotated(shown: dict[str, Any]) -> dict[str, Any]:
    if "annotations" in shown:
        shown["annotations"] = _kept(shown["annotations"], _ANNOTATIONS)
    return shown


def _schema(schema: Any) -> Any:
    """Return a schema whose parts at its root are of their kinds; `true` and `false` are written as objects."""
    root = as_object(schema)
    if root is None:
        return schema
    shown = _kept(root, _OF_SCHEMAS)
    if "required" in shown:
        shown["required"] = [name for name in as_array(shown["required"]) or [] if isinstance(name, str)]
    if "properties" in shown:
        shown["properties"] = {name: _as_object(each) for name, each in shown["properties"].items()}
    return shown


def _as_object(schema: Any) -> Any:
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    return schema


def _kept(raw: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if isinstance(value, kinds.get(name, object))}
