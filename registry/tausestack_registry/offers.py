"""What a third party's server said of itself when it was planned, within bounds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson
from typing_extensions import TypedDict

from tausestack.contract import META_PREFIX
from tausestack.raw import as_array, as_object, object_at, objects_in
from tausestack_registry.pins import MAX_NAME, MAX_TOOLS, LeftOut

MAX_ITEMS = 1000
MAX_ITEM_BYTES = 64 * 1024
MAX_LIST_BYTES = 1024 * 1024
MAX_INSTRUCTIONS = 16 * 1024
MAX_PROTOCOLS = 16
MAX_REASON = 300

_PROTOCOL = re.compile(r"\d{4}-\d{2}-\d{2}")


class Offer(TypedDict):
    """Raw objects as the server sent them; its tools are not among them: those are pinned, but for those left out."""

    serverInfo: dict[str, Any]
    capabilities: dict[str, Any]
    instructions: str | None
    prompts: list[dict[str, Any]]
    resources: list[dict[str, Any]]
    resourceTemplates: list[dict[str, Any]]
    leftOut: list[LeftOut]


def offered(raw: dict[str, Any]) -> Offer:
    """Return a server's offer; what is malformed or out of bounds is left out, and so is what speaks in our name."""
    instructions = raw.get("instructions")
    return Offer(
        serverInfo=_object(raw, "serverInfo"),
        capabilities=_object(raw, "capabilities"),
        instructions=instructions[:MAX_INSTRUCTIONS] if isinstance(instructions, str) and instructions else None,
        prompts=_items(raw, "prompts", "name"),
        resources=_items(raw, "resources", "uri"),
        resourceTemplates=_items(raw, "resourceTemplates", "uriTemplate"),
        leftOut=[
            LeftOut(name=str(one.get("name", ""))[:MAX_NAME], reason=str(one.get("reason", ""))[:MAX_REASON])
            for one in objects_in(raw.get("leftOut"))[:MAX_TOOLS]
        ],
    )


def spoken(raw: Any) -> list[str]:
    """Return the protocol versions in a list, newest first, each once."""
    found = {one for one in as_array(raw) or [] if isinstance(one, str) and _PROTOCOL.fullmatch(one)}
    return sorted(found, reverse=True)[:MAX_PROTOCOLS]


def _object(raw: dict[str, Any], name: str) -> dict[str, Any]:
    found = object_at(raw, name)
    return found if _bytes(found) <= MAX_ITEM_BYTES else {}


def _items(raw: dict[str, Any], kind: str, key: str) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    names: set[str] = set()
    room = MAX_LIST_BYTES
    for item in _unsigned(objects_in(raw.get(kind))[:MAX_ITEMS]):
        name, size = item.get(key), _bytes(item)
        if isinstance(name, str) and name and name not in names and size <= min(room, MAX_ITEM_BYTES):
            names.add(name)
            room -= size
            kept.append(item)
    return kept


def _unsigned(items: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for item in items:
        meta = as_object(item.get("_meta"))
        if meta is None:
            yield item
        else:
            yield {**item, "_meta": {key: value for key, value in meta.items() if not key.startswith(META_PREFIX)}}


def _bytes(value: Any) -> int:
    return len(orjson.dumps(value))
