"""Streams of notifications: a tenant's own changes, and those of its servers, in one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from tausestack.contract import MCP_SUBSCRIPTION_META
from tausestack.errors import Forbidden, PayloadTooLarge, RateLimited, TauseError
from tausestack.raw import as_array, object_at
from tausestack.scopes import TOOLS_READ
from tausestack_runtime.gateway.call import Call
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.mcp import naming
from tausestack_runtime.gateway.mcp.asking import Ask
from tausestack_runtime.gateway.mcp.discovery import capabilities_of
from tausestack_runtime.gateway.mcp.lists import may_read
from tausestack_runtime.gateway.mcp.naming import Outward
from tausestack_runtime.gateway.mcp.offers import Offers
from tausestack_runtime.gateway.snapshots import FRESH_SECONDS, Snapshots, TenantSnapshot
from tausestack_runtime.gateway.upstreams.routes import Upstreams

LISTEN = "subscriptions/listen"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
STREAM_SECONDS = 6 * 3600.0
READY_SECONDS = 2.0
"""How long a stream's begin waits for its servers to listen too, so that nothing is missed from then on."""
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 30.0
MAX_STREAMS = 256
"""How many streams a tenant may have open at this gateway."""
MAX_WAITING = 256
"""How many notifications wait for a slow reader; more are dropped, as each only says that something changed."""

MAX_NAMED = 256
"""How many resources, and how many tasks, one stream may be about."""
MAX_LISTEN_BYTES = 256 * 1024
"""How large a request for a stream may be: it is kept for as long as the stream is."""

LISTS = {"tools": "toolsListChanged", "prompts": "promptsListChanged", "resources": "resourcesListChanged"}
_BY_ID = {"resourceSubscriptions": naming.resource, "taskIds": naming.task}
_ASKED_FOR_BY = {
    **{f"notifications/{what}/list_changed": name for what, name in LISTS.items()},
    "notifications/resources/updated": "resourceSubscriptions",
    "notifications/tasks": "taskIds",
}
"""By which part of a filter a notification is asked for; a stream carries nothing else, whatever a server sends."""

logger = structlog.get_logger("gateway")


@dataclass(slots=True)
class Feed:
    """An open stream: what of the asked-for was granted, its tenant as last seen, and notifications as they come."""

    granted: dict[str, Any]
    snapshot: TenantSnapshot
    waiting: asyncio.Queue[dict[str, Any]] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))
    unheard: set[str] = field(default_factory=set[str])
    """Servers that have not yet said that they listen too, nor that they don't."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, server: str) -> None:
        """Note that a server listens, or does not."""
        self.unheard.discard(server)
        if not self.unheard:
            self.settled.set()

    def tell(self, message: dict[str, Any]) -> None:
        """Have a notification wait for the reader."""
        with suppress(asyncio.QueueFull):
            self.waiting.put_nowait(message)


class Subscriptions:
    """Opens streams."""

    def __init__(self, snapshots: Snapshots, upstreams: Upstreams, offers: Offers) -> None:
        self._snapshots = snapshots
        self._upstreams = upstreams
        self._offers = offers
        self._open: Counter[str] = Counter()

    @asynccontextmanager
    async def open(
        self, ask: Ask, snapshot: TenantSnapshot, wanted: Mapping[str, Any], without: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Feed]:
        """Open a stream of what a filter asks for (`notifications` of `subscriptions/listen`); leaving closes it.

        `without` names servers that are listened to in another way.
        """
        tenant = ask.principal.tenant
        if self._open[tenant] >= MAX_STREAMS:
            raise RateLimited(f"{MAX_STREAMS} streams of this tenant are open already", retry_after=5)
        feed = Feed(_granted(ask, snapshot, wanted), snapshot)
        self._open[tenant] += 1
        following = asyncio.create_task(self._follow(ask, feed, without))
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(feed.settled.wait(), READY_SECONDS)
            yield feed
        finally:
            self._open[tenant] -= 1
            following.cancel()
            await asyncio.wait({following})
            _seen(following)

    async def _follow(self, ask: Ask, feed: Feed, without: frozenset[str]) -> None:
        """Keep a stream's sources: one task a server, made anew only where what it listens to is another."""
        sources: dict[str, tuple[Any, asyncio.Task[None]]] = {}
        try:
            while True:
                wanted = await self._wanted(ask, feed, without)
                await _end([sources.pop(name)[1] for name in [*sources] if wanted.get(name) != sources[name][0]])
                for name in [name for name in wanted if name not in sources]:
                    feed.unheard.add(name)
                    part, _ = wanted[name]
                    sources[name] = wanted[name], asyncio.create_task(self._listen(ask, name, part, feed))
                if not feed.unheard:
                    feed.settled.set()
                feed.snapshot = await self._changed(ask, feed)
        finally:
            await _end([source for _, source in sources.values()])

    async def _wanted(self, ask: Ask, feed: Feed, without: frozenset[str]) -> dict[str, tuple[dict[str, Any], Any]]:
        """Return the servers that a stream listens to: each one's part of the filter, and where it is."""
        filtered = ((one, _for_server(ask, feed.snapshot, one, feed.granted)) for one in _servers(ask, feed.snapshot))
        parts = [(one, part) for one, part in filtered if part and one.name not in without]
        places = await asyncio.gather(*(self._place(feed.snapshot, one) for one, _ in parts))
        return {one.name: (part, place) for (one, part), place in zip(parts, places, strict=True)}

    async def _place(self, snapshot: TenantSnapshot, one: Installation) -> Any:
        """Return where a server is: another value where it would have to be listened to elsewhere, or as another."""
        place: Any = (one.kind, one.service, one.protocols)
        if one.direct:
            try:
                return place, await self._upstreams.ways.remote(snapshot.tenant, one, snapshot.epoch)
            except TauseError as error:
                logger.info("a server's place is not known", server=one.name, error=error.message)
                return place, snapshot.epoch
        return place

    async def _changed(self, ask: Ask, feed: Feed) -> TenantSnapshot:
        """Wait until another snapshot shows something else, tell what, and return it."""
        before = feed.snapshot
        while True:
            await asyncio.sleep(FRESH_SECONDS)
            try:
                now = await self._snapshots.tenant(before.tenant)
            except TauseError as error:
                logger.info("a stream can't see changes", error=error.message)
                continue
            if now is before:
                continue
            for what in _differing(ask, before, now):
                if feed.granted.get(LISTS[what]):
                    feed.tell({"jsonrpc": "2.0", "method": f"notifications/{what}/list_changed"})
            return now

    async def _listen(self, ask: Ask, name: str, part: dict[str, Any], feed: Feed) -> None:
        """Pass on what one server tells, and listen again when it breaks off."""
        pause = FIRST_PAUSE_SECONDS
        while (one := feed.snapshot.installations.get(name)) is not None:
            call = Call(
                tenant=ask.principal.tenant,
                principal=ask.principal,
                server=one.name,
                service=one.service,
                tool="",
                arguments={},
                door="mcp",
                deadline=asyncio.get_running_loop().time() + STREAM_SECONDS,
                method=LISTEN,
                rest={"notifications": part},
            )
            try:
                async with aclosing(self._upstreams.listen(call, one, feed.snapshot.epoch)) as messages:
                    async for message in messages:
                        pause = FIRST_PAUSE_SECONDS
                        self._tell(ask, name, part, feed, message)
            except TauseError as error:
                logger.info("a server does not listen", server=one.name, error=error.message)
            feed.heard(one.name)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_SECONDS)

    def _tell(self, ask: Ask, name: str, part: Mapping[str, Any], feed: Feed, message: dict[str, Any]) -> None:
        snapshot, one = feed.snapshot, feed.snapshot.installations.get(name)
        if one is None:
            return  # it has just been uninstalled
        method = message.get("method")
        if method == ACKNOWLEDGED:
            feed.heard(one.name)
        asked_for_by = _ASKED_FOR_BY.get(method) if isinstance(method, str) and "id" not in message else None
        if asked_for_by is None or not part.get(asked_for_by):
            return
        if asked_for_by in LISTS.values():
            self._offers.changed(snapshot, one, str(method))
        asked = {
            found.name: each
            for each in feed.granted.get("resourceSubscriptions", [])
            if (found := owner(ask, snapshot, "resourceSubscriptions", each)) is not None and found.installation is one
        }
        outward = Outward(one.name, plain=ask.server is not None or one.default, asked=asked)
        params = outward.task(outward.resource(object_at(message, "params")))
        # The id of our own subscription there means nothing here.
        meta = {key: value for key, value in object_at(params, "_meta").items() if key != MCP_SUBSCRIPTION_META}
        params = {**params, "_meta": meta} if meta else {key: params[key] for key in params if key != "_meta"}
        feed.tell({**message, "params": params})


def _servers(ask: Ask, snapshot: TenantSnapshot) -> list[Installation]:
    """Return the servers that may tell something: all but the gateway itself."""
    return [
        one
        for name, one in snapshot.installations.items()
        if ask.server in {None, name} and may_read(ask.principal.limits, name) and one.kind != "platform"
    ]


def _granted(ask: Ask, snapshot: TenantSnapshot, wanted: Mapping[str, Any]) -> dict[str, Any]:
    if not any(may_read(ask.principal.limits, name) for name in snapshot.installations):
        raise Forbidden(f"This credential lacks the scope {TOOLS_READ}", scope=TOOLS_READ)
    if ask.size > MAX_LISTEN_BYTES or any(len(as_array(wanted.get(name)) or []) > MAX_NAMED for name in _BY_ID):
        raise PayloadTooLarge(
            f"A stream may be about {MAX_NAMED} resources and as many tasks, in {MAX_LISTEN_BYTES} bytes",
            limit=MAX_LISTEN_BYTES,
        )
    offered = capabilities_of(snapshot, ask.server)
    granted: dict[str, Any] = {
        name: True for what, name in LISTS.items() if wanted.get(name) is True and what in offered
    }
    for name in _BY_ID:
        asked = [each for each in as_array(wanted.get(name)) or [] if isinstance(each, str)]
        if asked:
            granted[name] = [each for each in asked if owner(ask, snapshot, name, each) is not None]
    return granted


def owner(ask: Ask, snapshot: TenantSnapshot, name: str, identifier: str) -> naming.Named | None:
    """Return the server that tells of a resource or a task, and its own name for it; None where none does."""
    if ask.server is not None:
        found: naming.Named | None = naming.Named(snapshot.installations[ask.server], identifier)
    else:
        found = _BY_ID[name](snapshot, identifier)
    if found is None or not may_read(ask.principal.limits, found.installation.name):
        return None
    if name == "resourceSubscriptions":
        offered = object_at(found.installation.offer.capabilities, "resources")
        return found if offered.get("subscribe") is True else None
    return found


def _for_server(ask: Ask, snapshot: TenantSnapshot, one: Installation, granted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a filter that is for one server, under its own names."""
    offered = one.offer.capabilities
    part: dict[str, Any] = {
        name: True for what, name in LISTS.items() if granted.get(name) and object_at(offered, what).get("listChanged")
    }
    for name in _BY_ID:
        owners = [owner(ask, snapshot, name, each) for each in granted.get(name, [])]
        own = [owner.name for owner in owners if owner is not None and owner.installation is one]
        if own:
            part[name] = own
    return part


def _differing(ask: Ask, before: TenantSnapshot, now: TenantSnapshot) -> list[str]:
    """Return which lists of an endpoint differ between two snapshots."""

    def seen(snapshot: TenantSnapshot, what: str) -> Any:
        shown = [one for name, one in snapshot.installations.items() if ask.server in {None, name}]
        if what == "tools":
            return [
                (one.name, one.default, name, tool.status, tool.raw)
                for one in shown
                for name, tool in one.tools.items()
            ]
        return [(one.name, one.default) for one in shown if what in one.offer.capabilities]

    return [what for what in LISTS if seen(before, what) != seen(now, what)]


async def _end(sources: list[asyncio.Task[None]]) -> None:
    for source in sources:
        source.cancel()
    await asyncio.gather(*sources, return_exceptions=True)


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a stream's sources broke", error=repr(error))
