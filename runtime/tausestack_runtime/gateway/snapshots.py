"""What the gateway knows of each tenant: keys, plan and installations, as auth and registry last said.

Both publish a change feed. It is asked at most every half second, and only while there is traffic; a request that finds
the last answer older than that waits for a new one, and fails closed when there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import jsonschema_rs
import orjson

from tausestack.contract import ToolPolicy, tool_policy
from tausestack.errors import NotFound, TauseError, Unavailable
from tausestack.names import SYSTEM_TENANT, wire_name
from tausestack.scopes import SYSTEM, needed
from tausestack_runtime.board import Writes

FRESH_SECONDS = 0.5
"""How long an answer of a change feed holds; a revocation is in force within twice that."""

SystemCall = Callable[[str, str, str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls (service, tool) for (tenant) with arguments as the gateway itself; returns the structured result."""


def not_found() -> NotFound:
    """Return the one answer for whatever is not there or not yours."""
    return NotFound("There is no such tenant, server or tool, or it is not yours")


@dataclass(frozen=True)
class Tool:
    """A tool as its server defines it, with the names it goes by here."""

    server: str
    raw: dict[str, Any]
    status: str

    @cached_property
    def name(self) -> str:
        """Its name on its own server."""
        return str(self.raw["name"])

    @cached_property
    def wire(self) -> str:
        """Its name in the tenant's merged list."""
        return wire_name(self.server, self.name)

    @cached_property
    def policy(self) -> ToolPolicy:
        """Its side effects, scopes and approval."""
        return tool_policy(self.raw)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The scopes that a caller has to hold."""
        return needed(self.server, self.name, self.policy.scopes)

    @property
    def hidden(self) -> bool:
        """Whether only our own processes may know of it."""
        return SYSTEM in self.policy.scopes

    @cached_property
    def definition(self) -> bytes:
        """The definition as it stands in its own server's list."""
        return orjson.dumps(self.raw)

    @cached_property
    def merged_definition(self) -> bytes:
        """The definition as it stands in the merged list; a missing description is filled in, as hosts expect one."""
        described = self.raw.get("description") or f"{self.name} of {self.server}"
        return orjson.dumps({**self.raw, "name": self.wire, "description": described})

    @cached_property
    def validator(self) -> Any:
        """The compiled input schema; patterns run in linear time, and nothing is ever fetched."""
        return jsonschema_rs.Draft202012Validator(
            self.raw.get("inputSchema") or {"type": "object"},
            retriever=_refuse_to_fetch,
            pattern_options=jsonschema_rs.RegexOptions(),
        )


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError(f"schemas may not refer to the network: {uri}")


@dataclass(frozen=True)
class Installation:
    """A server that a tenant has installed."""

    name: str
    kind: str
    service: str
    title: str
    version: str
    default: bool
    status: str
    tools: dict[str, Tool]


@dataclass(frozen=True)
class Key:
    """An API key: whose it is and what it may do."""

    id: str
    tenant: str
    role: str
    scopes: frozenset[str]
    expires: datetime | None

    @property
    def alive(self) -> bool:
        """Whether it has not expired."""
        return self.expires is None or self.expires > datetime.now(UTC)


@dataclass(frozen=True)
class TenantSnapshot:
    """One tenant as of one epoch."""

    tenant: str
    epoch: str
    status: str
    plan: str
    keys: dict[str, Key]
    installations: dict[str, Installation]

    @cached_property
    def wires(self) -> dict[str, Tool]:
        """Tools by wire name; the default installation's also by their own names."""
        found = {tool.wire: tool for one in self.installations.values() for tool in one.tools.values()}
        plain = {t.name: t for one in self.installations.values() if one.default for t in one.tools.values()}
        return {**plain, **found}

    def tool(self, server: str, name: str) -> Tool:
        """Return an installed, active tool, or raise the one `NotFound`."""
        installation = self.installations.get(server)
        tool = installation.tools.get(name) if installation else None
        if tool is None or tool.status != "active":
            raise not_found()
        return tool


@dataclass
class _Feed:
    """One owner's change feed, as far as it was followed."""

    service: str
    boot: str = ""
    epoch: int = 0
    checked: float = float("-inf")
    asking: asyncio.Task[None] | None = None
    generations: dict[str, int] = field(default_factory=dict[str, int])
    resets: int = 0
    writes: int = 0

    def generation(self, tenant: str) -> tuple[int, int]:
        return self.resets, self.generations.get(tenant, 0)


class Snapshots:
    """Snapshots by tenant and keys by hash, dropped as soon as their owner says that they changed."""

    def __init__(self, system: SystemCall, platform_tools: list[dict[str, Any]], written: Writes | None = None) -> None:
        self._system = system
        self._platform_tools = platform_tools
        self._feeds = {"auth": _Feed("auth"), "registry": _Feed("registry")}
        self._tenants: dict[str, TenantSnapshot] = {}
        self._keys: dict[str, Key] = {}
        self._loading: dict[str, asyncio.Task[TenantSnapshot]] = {}
        self._written = written or Writes()
        self._heard = self._written.count()

    def expire(self) -> None:
        """Ask the feeds anew before the next request is answered, here and by every gateway: something was written."""
        self._written.note()

    def _hear(self) -> None:
        """Count the feeds' last answers for nothing once something was written through any gateway."""
        count = self._written.count()
        if count != self._heard:
            self._heard = count
            for feed in self._feeds.values():
                feed.checked = float("-inf")
                feed.writes += 1

    async def follow(self) -> None:
        """Hear what auth and registry changed, or raise `Unavailable`."""
        await asyncio.gather(self._fresh("auth"), self._fresh("registry"))

    async def key(self, key_hash: str) -> Key | None:
        """Return the key with a hash, or None where there is none."""
        await self._fresh("auth")
        known = self._keys.get(key_hash)
        if known is not None:
            return known
        feed = self._feeds["auth"]
        while True:
            started = feed.resets, sum(feed.generations.values())
            found = await self._system("auth", "authenticate", SYSTEM_TENANT, {"key_hash": key_hash})
            if started == (feed.resets, sum(feed.generations.values())):
                break
        if not found.get("tenant"):
            return None
        key = _key(found["tenant"], found)
        self._keys[key_hash] = key
        return key

    async def tenant(self, tenant: str) -> TenantSnapshot:
        """Return a tenant's snapshot, or raise the one `NotFound`."""
        await self.follow()
        known = self._tenants.get(tenant)
        if known is not None:
            return known
        loading = self._loading.get(tenant)
        if loading is None:
            loading = asyncio.create_task(self._load(tenant))
            self._loading[tenant] = loading
            loading.add_done_callback(lambda _: self._loading.pop(tenant, None))
        return await asyncio.shield(loading)

    async def _load(self, tenant: str) -> TenantSnapshot:
        while True:
            started = {name: feed.generation(tenant) for name, feed in self._feeds.items()}
            identity = await self._system("auth", "snapshot", SYSTEM_TENANT, {"tenant": tenant})
            if not identity.get("tenant") or identity.get("status") != "active":
                raise not_found()
            plan = str(identity.get("plan", ""))
            installed = await self._system("registry", "snapshot", tenant, {"plan": plan})
            if started == {name: feed.generation(tenant) for name, feed in self._feeds.items()}:
                break
        epoch = "|".join(f"{feed.boot}:{feed.generation(tenant)}" for feed in self._feeds.values())
        installations = {one["name"]: self._installation(one) for one in installed["installations"]}
        keys = {one["key_id"]: _key(tenant, one) for one in identity["keys"]}
        snapshot = TenantSnapshot(tenant, epoch, "active", plan, keys, installations)
        self._tenants[tenant] = snapshot
        return snapshot

    def _installation(self, raw: dict[str, Any]) -> Installation:
        name = str(raw["name"])
        definitions = self._platform_tools if raw["kind"] == "platform" else raw["tools"]
        tools = [Tool(name, _without_status(tool), str(tool.get("status", "active"))) for tool in definitions]
        return Installation(
            name=name,
            kind=str(raw["kind"]),
            service=str(raw.get("service") or name),
            title=str(raw.get("title") or name),
            version=str(raw.get("version") or ""),
            default=bool(raw.get("default")),
            status=str(raw.get("status", "active")),
            tools={tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)},
        )

    async def _fresh(self, service: str) -> None:
        feed = self._feeds[service]
        # An answer that was under way when something was written does not count, hence the second and third try.
        for _ in range(3):
            self._hear()
            if asyncio.get_running_loop().time() - feed.checked < FRESH_SECONDS:
                return
            if feed.asking is None or feed.asking.done():
                feed.asking = asyncio.create_task(self._ask(feed))
            await asyncio.shield(feed.asking)
        if asyncio.get_running_loop().time() - feed.checked >= FRESH_SECONDS:
            raise Unavailable(f"{service} answers too slowly: nothing can be authorised")

    async def _ask(self, feed: _Feed) -> None:
        asked, writes = asyncio.get_running_loop().time(), feed.writes
        try:
            seen = await self._system(feed.service, "changes", SYSTEM_TENANT, {"boot": feed.boot, "epoch": feed.epoch})
        except TauseError as error:
            raise Unavailable(f"{feed.service} does not answer: nothing can be authorised") from error
        if seen["reset"]:
            feed.resets += 1
            self._tenants.clear()
            if feed.service == "auth":
                self._keys.clear()
        for tenant in seen["tenants"]:
            feed.generations[tenant] = feed.generations.get(tenant, 0) + 1
            self._tenants.pop(tenant, None)
        if seen["tenants"] and feed.service == "auth":
            changed = set(seen["tenants"])
            self._keys = {hashed: key for hashed, key in self._keys.items() if key.tenant not in changed}
        feed.boot, feed.epoch = seen["boot"], seen["epoch"]
        if feed.writes == writes:
            feed.checked = asked


def _key(tenant: str, raw: dict[str, Any]) -> Key:
    expires = raw.get("expires_at")
    return Key(
        id=str(raw["key_id"]),
        tenant=tenant,
        role=str(raw["role"]),
        scopes=frozenset(raw["scopes"]),
        expires=datetime.fromisoformat(expires) if expires else None,
    )


def _without_status(tool: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name != "status"}
