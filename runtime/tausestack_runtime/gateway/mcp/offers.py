"""What servers offer beside tools: prompts, resources and templates, asked of them and kept for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from tausestack.contract import META_STALE, Principal, ToolPolicy
from tausestack.errors import TauseError, UpstreamError
from tausestack.raw import object_at, objects_in
from tausestack.scopes import SYSTEM
from tausestack.tenancy import cache_key
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.snapshots import TenantSnapshot
from tausestack_runtime.gateway.upstreams.routes import Upstreams

Kind = Literal["prompts", "resources", "resourceTemplates", "tools"]
METHODS: dict[Kind, str] = {
    "prompts": "prompts/list",
    "resources": "resources/list",
    "resourceTemplates": "resources/templates/list",
    "tools": "tools/list",
}
ANSWER_SECONDS = 5.0
"""How long a server may take to list: after that, what it listed before stands."""
PATIENT_SECONDS = 3.0
"""How long somebody who lists waits for one server among many: clients give up a request after five seconds."""
MIN_TTL_MS, DEFAULT_TTL_MS, MAX_TTL_MS = 1_000, 5_000, 60_000
CONFIRM_SECONDS = 30.0
"""How long a server that answered is taken to be there."""
BRIEF_SECONDS = 0.5
"""How long a list of tools, which is known, waits to learn which servers are away."""
MAX_ITEMS, MAX_PAGES = 1_000, 50
MAX_KEPT = 4096

logger = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True)
class Listed:
    """A server's list, and until when it holds; `stale` says why it may no longer be true."""

    items: list[dict[str, Any]]
    ttl_ms: int
    until: float
    stale: str | None = None

    def marked(self) -> list[dict[str, Any]]:
        """Return the items, each marked where the list is stale."""
        if self.stale is None:
            return self.items
        return [{**item, "_meta": {**object_at(item, "_meta"), META_STALE: self.stale}} for item in self.items]


class Offers:
    """Lists by tenant, server and kind; one that can't be had anew is what it was, marked stale."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._kept: OrderedDict[str, Listed] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Listed]] = {}

    async def listed(self, snapshot: TenantSnapshot, installation: Installation, kind: Kind) -> Listed:
        """Return a server's list."""
        key = cache_key(snapshot.tenant, "", snapshot.epoch, installation.name, kind)
        known = self._kept.get(key)
        if known is not None and known.until > _now():
            return known
        task = self._task(key, self._asked(snapshot, installation, kind, key, known))
        done, _ = await asyncio.wait({task}, timeout=PATIENT_SECONDS)
        if done:
            return task.result()
        reason = f"{installation.name} takes long to answer {METHODS[kind]}"
        return Listed(_before(installation, kind, known), MIN_TTL_MS, _now(), reason)

    def clear(self) -> None:
        """Keep no list of anybody's."""
        self._kept.clear()

    def changed(self, snapshot: TenantSnapshot, installation: Installation, method: str) -> None:
        """Ask anew next time, for the server said that a list of it changed; its tools at once, for they are pinned."""
        keys = {kind: cache_key(snapshot.tenant, "", snapshot.epoch, installation.name, kind) for kind in METHODS}
        for key in keys.values():
            self._kept.pop(key, None)
            if (asking := self._asking.get(key)) is not None:  # what it brings may be from before the change
                asking.add_done_callback(lambda _, key=key: self._kept.pop(key, None))

        def look(_: object = None) -> None:
            key = keys["tools"]
            self._task(key, self._asked(snapshot, installation, "tools", key, None, told=True))

        if installation.foreign and method == "notifications/tools/list_changed":
            asking = self._asking.get(keys["tools"])
            if asking is None:
                look()
            else:
                asking.add_done_callback(look)

    async def confirm(self, snapshot: TenantSnapshot) -> dict[str, str]:
        """Return why each server that is away is so, by name; those not heard of lately are asked, and briefly awaited.

        The tenant's own processes are not: starting one to list what is known would be waste.
        """
        due: list[asyncio.Task[Listed]] = []
        for one in snapshot.installations.values():
            breaker = self._upstreams.breakers.of(snapshot.tenant, one.name)
            if one.direct and not breaker.open and breaker.heard + CONFIRM_SECONDS < _now():
                key = cache_key(snapshot.tenant, "", snapshot.epoch, one.name, "tools")
                due.append(self._task(key, self._asked(snapshot, one, "tools", key, None)))
        if due:
            await asyncio.wait(due, timeout=BRIEF_SECONDS)
        reasons = {
            name: self._upstreams.breakers.of(snapshot.tenant, name).stale
            for name, one in snapshot.installations.items()
            if one.foreign
        }
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def _task(self, key: str, asked: Coroutine[Any, Any, Listed]) -> asyncio.Task[Listed]:
        """Return the one task that asks; who waits for it may go away, and another still wait."""
        task = self._asking.get(key)
        if task is not None:
            asked.close()
            return task
        task = self._asking[key] = asyncio.create_task(asked)
        task.add_done_callback(lambda _: self._asking.pop(key, None))
        return task

    async def _asked(
        self,
        snapshot: TenantSnapshot,
        installation: Installation,
        kind: Kind,
        key: str,
        known: Listed | None,
        *,
        told: bool = False,
    ) -> Listed:
        try:
            found = await self._pages(snapshot, installation, METHODS[kind])
        except TauseError as error:
            logger.info("a server lists nothing", server=installation.name, kind=kind, error=error.message)
            before = _before(installation, kind, known)
            found = Listed(before, DEFAULT_TTL_MS, _now() + DEFAULT_TTL_MS / 1000, error.message)
        else:
            # Of one that told of a change, the registry may know already what this snapshot doesn't.
            if kind == "tools" and (told or _differs(installation, found.items)):
                await self._observed(snapshot, installation, found.items)
        self._kept[key] = found
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found

    async def _pages(self, snapshot: TenantSnapshot, installation: Installation, method: str) -> Listed:
        principal = Principal(tenant=snapshot.tenant, id="gateway", scopes=frozenset({SYSTEM}))
        items: list[dict[str, Any]] = []
        ttl, cursor = MAX_TTL_MS, None
        deadline = _now() + ANSWER_SECONDS
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            call = Call(
                tenant=snapshot.tenant,
                principal=principal,
                server=installation.name,
                service=installation.service,
                tool="",
                arguments={},
                door="gateway",
                deadline=deadline,
                method=method,
                rest={} if cursor is None else {"cursor": cursor},
            )
            outcome = await self._upstreams.call(call, installation, ToolPolicy(side_effect="read"), snapshot.epoch)
            items += objects_in(outcome.result.get(_field(method)))
            said, cursor = outcome.result.get("ttlMs"), outcome.result.get("nextCursor")
            ttl = min(ttl, said if isinstance(said, int) else DEFAULT_TTL_MS)
            if not isinstance(cursor, str) or len(items) > MAX_ITEMS:
                break
            if cursor in seen:
                raise UpstreamError(f"The pages of {installation.name}'s {method} go round in a circle")
            seen.add(cursor)
        else:
            raise UpstreamError(f"The pages of {installation.name}'s {method} do not end: {MAX_PAGES} were there")
        if len(items) > MAX_ITEMS:
            logger.warning("a list is cut at its bound", server=installation.name, method=method)
        ttl = max(ttl, MIN_TTL_MS)
        return Listed(items[:MAX_ITEMS], ttl, _now() + ttl / 1000)

    async def _observed(
        self, snapshot: TenantSnapshot, installation: Installation, tools: list[dict[str, Any]]
    ) -> None:
        """Tell the registry that a server's tools are not those that were approved."""
        seen = {"server": installation.name, "tools": tools}
        try:
            await self._upstreams.system("registry", "observed", snapshot.tenant, seen)
        except TauseError as error:
            logger.warning("changed tools could not be told", server=installation.name, error=error.message)


def _before(installation: Installation, kind: Kind, known: Listed | None) -> list[dict[str, Any]]:
    """Return what a server listed before, if only when it was planned."""
    return installation.offer.lists.get(kind, []) if known is None else known.items


def _field(method: str) -> str:
    return "resourceTemplates" if method == "resources/templates/list" else method.partition("/")[0]


def _differs(installation: Installation, tools: list[dict[str, Any]]) -> bool:
    return {str(tool.get("name")): tool for tool in tools} != {
        name: tool.raw for name, tool in installation.tools.items()
    }


def _now() -> float:
    return asyncio.get_running_loop().time()
