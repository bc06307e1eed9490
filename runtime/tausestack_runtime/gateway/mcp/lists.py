"""The lists of the MCP doors: one server's own, or all of a tenant's merged, in pages."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import orjson

from tausestack.errors import INVALID_PARAMS, Forbidden
from tausestack.names import wire_name
from tausestack.raw import number_of
from tausestack.scopes import OPERATOR, TOOLS_CALL, TOOLS_READ, covers, missing, reaches
from tausestack_runtime.gateway.call import Outcome
from tausestack_runtime.gateway.installed import Tool
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.mcp.naming import Named, Outward
from tausestack_runtime.gateway.mcp.offers import METHODS, Kind, Offers
from tausestack_runtime.gateway.readable import item as as_item
from tausestack_runtime.gateway.snapshots import TenantSnapshot

LIST_TTL_MS = 5_000
PAGE_SIZE = 1_000

Limits = tuple[frozenset[str], ...]

KINDS: Mapping[str, Kind] = {method: kind for kind, method in METHODS.items() if kind != "tools"}


class Lists:
    """Answers the methods that list."""

    def __init__(self, offers: Offers) -> None:
        self._offers = offers

    async def tools(self, ask: Ask, snapshot: TenantSnapshot) -> Outcome:
        """Answer `tools/list`: the pinned definitions, whether their servers are there or not."""
        principal = ask.principal
        if not any(covers(limit, TOOLS_READ) or _may_call(limit) for limit in principal.limits):
            raise Forbidden(f"This credential lacks the scope {TOOLS_READ}", scope=TOOLS_READ)
        away = await self._offers.confirm(snapshot)
        after = _after(ask)
        key = repr((ask.server, after, sorted(map(sorted, principal.limits)), OPERATOR in principal.scopes, away))
        listing = snapshot.listing(key, lambda: _page_of_tools(_named_tools(ask, snapshot), after, away))
        head = orjson.dumps({"jsonrpc": "2.0", "id": ask.id})[:-1]
        return Outcome({"resultType": "complete"}, head + b',"result":' + listing[0] + b"}", listing[1])

    async def others(self, ask: Ask, snapshot: TenantSnapshot, kind: Kind) -> Outcome:
        """Answer the method that lists prompts, resources or templates."""
        capability = "prompts" if kind == "prompts" else "resources"
        limits = ask.principal.limits
        shown = [one for name, one in sorted(snapshot.installations.items()) if ask.server in {None, name}]
        asked = [one for one in shown if capability in one.offer.capabilities and may_read(limits, one.name)]
        found = await asyncio.gather(*(self._offers.listed(snapshot, one, kind) for one in asked))
        items: list[dict[str, Any]] = []
        for one, listed in zip(asked, found, strict=True):
            outward = Outward(one.name, plain=ask.server is not None or one.default)
            readable = (as_item(kind, item, one.name) for item in listed.marked())
            items += [_outward(outward, kind, item) for item in readable if item is not None]
        ttl = min([LIST_TTL_MS, *(listed.ttl_ms for listed in found)])
        start = number_of(_after(ask) or "0")
        if start is None:
            raise _not_ours(ask)
        page = {kind: items[start : start + PAGE_SIZE]}
        more = {"nextCursor": _cursor(ask.method, str(start + PAGE_SIZE))} if start + PAGE_SIZE < len(items) else {}
        return Outcome({"resultType": "complete", **page, **more, "ttlMs": ttl, "cacheScope": "private"})

    async def shortened(self, snapshot: TenantSnapshot, name: str) -> Named | None:
        """Return the server and prompt of a merged name that was shortened, which only the server's list can tell."""
        for one in snapshot.installations.values():
            if "prompts" not in one.offer.capabilities or not name.startswith(f"{one.name}__"):
                continue
            listed = await self._offers.listed(snapshot, one, "prompts")
            for item in listed.items:
                if wire_name(one.name, str(item.get("name"))) == name:
                    return Named(one, str(item["name"]))
        return None


def visible(tool: Tool, limits: Limits) -> bool:
    """Whether somebody is shown a tool: it is active, and they may call it or read what there is."""
    if tool.hidden or tool.status != "active" or OPERATOR in tool.policy.scopes:
        return False
    if all(covers(limit, TOOLS_READ) for limit in limits):
        return True
    return missing(limits, tool.needs) is None


def may_read(limits: Limits, server: str) -> bool:
    """Whether what a server offers beside tools may be listed and read: by who reads, or calls something there."""
    return missing(limits, [TOOLS_READ]) is None or reaches(limits, server)


def _named_tools(ask: Ask, snapshot: TenantSnapshot) -> list[tuple[str, Tool]]:
    """Return the tools that somebody is shown, by the names that they go by on this endpoint."""
    limits = ask.principal.limits
    if ask.server is not None:
        tools = snapshot.installations[ask.server].tools
        return [(name, tool) for name, tool in tools.items() if visible(tool, limits)]
    named = [
        (tool.name if one.default and tool.name in snapshot.own_names else tool.wire, tool)
        for one in snapshot.installations.values()
        for tool in one.tools.values()
        if visible(tool, limits)
    ]
    return sorted(named, key=_place)


def _place(named: tuple[str, Tool]) -> str:
    """Return where a tool stands in a list: the default server's first, under the names that are its own."""
    name, tool = named
    return ("0" if name == tool.name else "1") + name


def _page_of_tools(named: list[tuple[str, Tool]], after: str, away: Mapping[str, str]) -> bytes:
    rest = [one for one in named if _place(one) > after] if after else named
    page = rest[:PAGE_SIZE]
    shown = b",".join(tool.definition(name, away.get(tool.server)) for name, tool in page)
    about: dict[str, Any] = {"resultType": "complete", "ttlMs": LIST_TTL_MS, "cacheScope": "private"}
    if len(rest) > PAGE_SIZE:
        about["nextCursor"] = _cursor("tools/list", _place(page[-1]))
    return orjson.dumps(about)[:-1] + b',"tools":[' + shown + b"]}"


def _outward(outward: Outward, kind: Kind, item: dict[str, Any]) -> dict[str, Any]:
    if kind == "prompts":
        return outward.prompt(item)
    return outward.resource(item) if kind == "resources" else outward.template(item)


def _may_call(limit: frozenset[str]) -> bool:
    return any(scope.startswith(TOOLS_CALL) for scope in limit)


def _cursor(method: str, after: str) -> str:
    return base64.urlsafe_b64encode(f"{method} {after}".encode()).decode()


def _after(ask: Ask) -> str:
    """Return the place that a cursor of this list names, "" for the start."""
    cursor = ask.params.get("cursor")
    if cursor is None or cursor == "":
        return ""
    if not isinstance(cursor, str):
        raise _not_ours(ask)
    try:
        method, _, after = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition(" ")
    except ValueError as error:  # no base64, or no text in it
        raise _not_ours(ask) from error
    if method != ask.method or not after:
        raise _not_ours(ask)
    return after


def _not_ours(ask: Ask) -> Refused:
    return Refused(INVALID_PARAMS, "This cursor is none that this list gave", ask.id)
