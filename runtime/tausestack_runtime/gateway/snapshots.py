"""What the gateway knows of each tenant: plan, installations and who acts, as auth and registry last said.

Both publish a change feed. It is asked at most every half second, and only while there is traffic; a request that finds
the last answer older than that waits for a new one, and fails closed when there is none.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from tausestack.contract import BillingPlan, Principal
from tausestack.errors import TauseError, TenantSuspended, Unavailable
from tausestack.names import SYSTEM_TENANT
from tausestack.raw import as_object
from tausestack_runtime.board import Writes
from tausestack_runtime.gateway.call import digest
from tausestack_runtime.gateway.installed import Installation, Tool, installation_of, not_found
from tausestack_runtime.gateway.limits.allowances import Limits, limits_of
from tausestack_runtime.gateway.once import once

FRESH_SECONDS = 0.5
"""How long an answer of a change feed holds; a revocation is in force within twice that."""

FIRST_PLAN: BillingPlan = "basic"
"""Whose limits hold for a tenant that nothing is known of yet."""

SUSPENDED = "suspended"

MAX_LISTED = 16 * 1024 * 1024
"""Bytes of a snapshot's lists that are kept: of as many different credentials as most tenants have, and more."""

SystemCall = Callable[[str, str, str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Calls (service, tool) for (tenant) with arguments as the gateway itself; returns the structured result."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key: whose it is, who acts with it and until when."""

    id: str
    tenant: str
    principal: Principal
    expires: datetime | None

    def holds(self) -> bool:
        """Whether it has not expired."""
        return self.expires is None or self.expires > datetime.now(UTC)


@dataclass(frozen=True)
class Holder:
    """Somebody who may act: with which scopes and role, and until when (seconds since the epoch)."""

    scopes: frozenset[str]
    role: str
    until: float = math.inf


@dataclass(frozen=True)
class TenantSnapshot:
    """One tenant as of one epoch."""

    tenant: str
    epoch: str
    status: str
    plan: str
    installations: dict[str, Installation]
    limits: Limits
    created_at: str = "1970-01-01T00:00:00+00:00"
    incarnation: str = ""
    """What tells it from the tenants that had this id before: what was given out for one is nothing to another."""

    @once
    def holders(self) -> dict[str, asyncio.Task[Holder | None]]:
        """Those who have acted since this snapshot, by their ids: how many there are costs nobody anything."""
        return {}

    @once
    def wires(self) -> dict[str, Tool]:
        """Tools by wire name; the default installation's also by their own names."""
        found = {tool.wire: tool for one in self.installations.values() for tool in one.tools.values()}
        return {**({} if self.default is None else self.default.tools), **found}

    @once
    def own_names(self) -> frozenset[str]:
        """The names that the default installation's tools go by as they are: those that no wire name is equal to."""
        if self.default is None:
            return frozenset()
        return frozenset(name for name, tool in self.default.tools.items() if self.wires[name] is tool)

    @once
    def default(self) -> Installation | None:
        """The installation whose things go by their own names in the merged list, if there is one."""
        return next((one for one in self.installations.values() if one.default), None)

    @once
    def _listings(self) -> dict[str, tuple[bytes, str]]:
        return {}

    def listing(self, key: str, make: Callable[[], bytes]) -> tuple[bytes, str]:
        """Return a list that is put together from this snapshot for some who may see it, in JSON, and its digest."""
        found = self._listings.get(key)
        if found is None:
            made = make()
            found = made, digest(orjson.loads(made))
            if sum(len(body) for body, _ in self._listings.values()) + len(made) > MAX_LISTED:
                self._listings.clear()
            self._listings[key] = found
        return found

    @once
    def active(self) -> dict[tuple[str, str], tuple[Tool, Installation]]:
        """The active tools with their installations, by the names of their servers and their own."""
        return {
            (one.name, tool.name): (tool, one)
            for one in self.installations.values()
            for tool in one.tools.values()
            if tool.status == "active"
        }


@dataclass
class _Feed:
    """One owner's change feed, as far as it was followed."""

    service: str
    boot: str = ""
    epoch: int = 0
    checked: float = float("-inf")
    asking: asyncio.Task[None] | None = None
    changes: int = 0
    generations: dict[str, int] = field(default_factory=dict[str, int])
    """Of each tenant that changed, which of all changes was its last."""
    resets: int = 0
    heard: int = -1
    """How many writes had been noted when it was last asked: its answer tells of those."""

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
        self._limits: dict[str, Limits] = {}
        self._suspended: set[str] = set()
        self._loading: dict[str, asyncio.Task[TenantSnapshot]] = {}
        self._written = written or Writes()
        self._heard = -1
        self._checked = float("-inf")
        """When the feed that was asked longest ago was asked, and how many writes had been noted by then."""

    def expire(self) -> None:
        """Ask the feeds anew before the next request is answered, here and by every gateway: something was written."""
        self._written.note()

    async def follow(self) -> None:
        """Hear what auth and registry changed, or raise `Unavailable`."""
        if not self._all_fresh():
            await asyncio.gather(self._fresh("auth"), self._fresh("registry"))

    def key_at_hand(self, key_hash: str, tenant: str) -> Key | None:
        """Return a key of a tenant's where nobody has to be asked for either, as is most often so."""
        key = self._keys.get(key_hash)
        if key is None or key.tenant != tenant or tenant not in self._tenants or not self._all_fresh():
            return None
        return key

    async def key(self, key_hash: str) -> Key | None:
        """Return the key with a hash, or None where there is none."""
        if not self._all_fresh():
            await self._fresh("auth")
        known = self._keys.get(key_hash)
        if known is not None:
            return known
        feed = self._feeds["auth"]
        while True:
            resets, changes = feed.resets, feed.changes
            found = await self._system("auth", "authenticate", SYSTEM_TENANT, {"key_hash": key_hash})
            if (resets, changes) >= feed.generation(str(found.get("tenant"))):  # what others change is not waited for
                break
        if not found.get("tenant"):
            return None
        key = _key(found["tenant"], found)
        self._keys[key_hash] = key
        return key

    def at_hand(self, tenant: str) -> TenantSnapshot | None:
        """Return a tenant's snapshot where nobody has to be asked for it, as is most often so."""
        return self._tenants.get(tenant) if self._all_fresh() else None

    async def tenant(self, tenant: str) -> TenantSnapshot:
        """Return a tenant's snapshot, or raise the one `NotFound`, or `TenantSuspended`.

        Only who is the tenant's own may be told that it is suspended.
        """
        if not self._all_fresh():
            await self.follow()
        known = self._tenants.get(tenant)
        if known is not None:
            return known
        if tenant in self._suspended:
            raise _suspended()
        loading = self._loading.get(tenant)
        if loading is None:
            loading = asyncio.create_task(self._load(tenant))
            self._loading[tenant] = loading
            loading.add_done_callback(lambda _: self._loading.pop(tenant, None))
        return await asyncio.shield(loading)

    async def seen(self, tenant: str) -> TenantSnapshot:
        """Return a tenant's snapshot for its operator, who sees one that is suspended too, or raise `NotFound`."""
        try:
            return await self.tenant(tenant)
        except TenantSuspended:
            return await self._load(tenant, suspended=True)

    async def holder(self, snapshot: TenantSnapshot, principal_id: str) -> Holder | None:
        """Return what a person or a key may do as of a snapshot, or None for one that may do nothing any more."""
        asked = snapshot.holders.get(principal_id)
        if asked is None:
            asked = asyncio.create_task(self._holder(snapshot.tenant, principal_id))
            snapshot.holders[principal_id] = asked
            asked.add_done_callback(lambda done: _forget_failed(snapshot, principal_id, done))
        found = await asyncio.shield(asked)
        return None if found is None or found.until <= time.time() else found

    async def _holder(self, tenant: str, principal_id: str) -> Holder | None:
        about = {"tenant": tenant, "principal": principal_id}
        said = as_object((await self._system("auth", "holder", SYSTEM_TENANT, about)).get("holder"))
        if said is None:
            return None
        expires = said.get("expires_at")
        until = datetime.fromisoformat(expires).timestamp() if expires else math.inf
        return Holder(frozenset(said["scopes"]), str(said["role"]), until)

    async def ended(self, tenant: str, ids: frozenset[str]) -> bool:
        """Return whether a grant or an access token has ended: how many have is no concern of the snapshot's."""
        return (await self._system("auth", "ended", SYSTEM_TENANT, {"tenant": tenant, "ids": sorted(ids)}))["ended"]

    def limits(self, tenant: str) -> Limits:
        """Return a tenant's limits as they were last known: what a door goes by before it asks for more."""
        return self._limits.get(tenant) or limits_of(FIRST_PLAN, {})

    async def _load(self, tenant: str, *, suspended: bool = False) -> TenantSnapshot:
        """Ask for a tenant, and keep what was said of one that is active; `suspended`: return one that is not, too."""
        while True:
            started = {name: feed.generation(tenant) for name, feed in self._feeds.items()}
            identity = await self._system("auth", "snapshot", SYSTEM_TENANT, {"tenant": tenant})
            if not identity.get("tenant"):
                raise not_found()
            if identity["status"] == SUSPENDED and not suspended:
                if started == {name: feed.generation(tenant) for name, feed in self._feeds.items()}:
                    self._suspended.add(tenant)
                raise _suspended()
            plan = str(identity.get("plan", ""))
            installed = await self._system("registry", "snapshot", tenant, {"plan": plan})
            if started == {name: feed.generation(tenant) for name, feed in self._feeds.items()}:
                break
        epoch = "|".join(f"{feed.boot}:{feed.generation(tenant)}" for feed in self._feeds.values())
        found = (installation_of(one, self._platform_tools) for one in installed["installations"])
        installations = {one.name: one for one in found}
        limits = self._limits[tenant] = limits_of(plan, as_object(identity.get("settings")) or {})
        snapshot = TenantSnapshot(
            tenant,
            epoch,
            str(identity["status"]),
            plan,
            installations,
            limits,
            identity["created_at"],
            str(identity["incarnation"]),
        )
        if snapshot.status != SUSPENDED:
            self._tenants[tenant] = snapshot
        return snapshot

    async def _fresh(self, service: str) -> None:
        """Hear of all that was written before now: a write that comes meanwhile holds up nobody who came before it."""
        feed, written, since = self._feeds[service], self._written.count(), time.monotonic() - FRESH_SECONDS
        while feed.heard < written or feed.checked < since:  # at most twice: the second answer is of what comes here
            if feed.asking is None or feed.asking.done():
                feed.asking = asyncio.create_task(self._ask(feed))
            await asyncio.shield(feed.asking)

    def _all_fresh(self) -> bool:
        """Whether nothing has to be asked: what every request looks at, several times, and so without a task."""
        return self._written.count() == self._heard and time.monotonic() - self._checked < FRESH_SECONDS

    async def _ask(self, feed: _Feed) -> None:
        asked, heard = time.monotonic(), self._written.count()
        try:
            seen = await self._system(feed.service, "changes", SYSTEM_TENANT, {"boot": feed.boot, "epoch": feed.epoch})
        except TauseError as error:
            raise Unavailable(f"{feed.service} does not answer: nothing can be authorised") from error
        if seen["reset"]:
            feed.resets += 1
            self._tenants.clear()
            self._suspended.clear()
            if feed.service == "auth":
                self._keys.clear()
        for tenant in seen["tenants"]:
            feed.changes += 1
            feed.generations[tenant] = feed.changes
            self._tenants.pop(tenant, None)
            self._suspended.discard(tenant)
        if seen["tenants"] and feed.service == "auth":
            changed = set(seen["tenants"])
            self._keys = {hashed: key for hashed, key in self._keys.items() if key.tenant not in changed}
        feed.boot, feed.epoch = seen["boot"], seen["epoch"]
        feed.checked, feed.heard = asked, heard
        self._checked = min(each.checked for each in self._feeds.values())
        self._heard = min(each.heard for each in self._feeds.values())


def _forget_failed(snapshot: TenantSnapshot, principal_id: str, done: asyncio.Task[Holder | None]) -> None:
    """Have somebody asked for anew where there was no answer."""
    if done.cancelled() or done.exception() is not None:
        snapshot.holders.pop(principal_id, None)


def _suspended() -> TenantSuspended:
    return TenantSuspended("This tenant is suspended: its operator can resume it")


def _key(tenant: str, raw: dict[str, Any]) -> Key:
    identifier, expires = str(raw["key_id"]), raw.get("expires_at")
    scopes, role, incarnation = frozenset(raw["scopes"]), str(raw["role"]), str(raw["incarnation"])
    who = Principal(tenant, f"key:{identifier}", scopes, role=role, incarnation=incarnation)
    return Key(identifier, tenant, who, datetime.fromisoformat(expires) if expires else None)
