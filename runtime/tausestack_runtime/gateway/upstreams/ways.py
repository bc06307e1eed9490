"""The way to a server: a service's Unix socket, the tenant's adapter host, or a third party's own URL."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tausestack.contract import PROTOCOL_VERSION
from tausestack.errors import Unavailable
from tausestack.wire.request import head_bytes, header_lines
from tausestack_runtime.egress import Egress, Origin, read_url
from tausestack_runtime.gateway.call import NAMED, TOOLS_CALL, Call
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.mirrors import encoded, minted
from tausestack_runtime.gateway.upstreams.wire import Pool
from tausestack_runtime.supervisor.control import ControlClient

ADAPTER = "adapter"
"""The service that hosts a tenant's third-party servers."""

MAX_CONNECTIONS = 64
MAX_STREAMS = 512
"""How many calls, and how many event streams, of one tenant one server serves at once; more wait their turn."""
MAX_POOLS = 4096
MAX_LAUNCHES = 4096

_EVERY = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"mcp-protocol-version", PROTOCOL_VERSION.encode()),
]

_UNCOMPRESSED = (b"accept-encoding", b"identity")
"""Said to third parties: who says nothing of it may be answered in any compression."""

Way = tuple[Pool, bytes]
"""Where a request goes, and its head."""

LaunchOf = Callable[[str, str], Awaitable[dict[str, Any]]]
"""Asks the registry how a tenant reaches one of its third-party servers."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A third party's server at a URL, with the headers that a tenant set for it."""

    name: str
    """Its installation's."""
    origin: Origin
    target: str
    headers: list[tuple[bytes, bytes]]
    head: bytes
    """What the head of every request to it begins with."""


class Ways:
    """Finds the way to a tenant's server, and keeps the connections; no two tenants and no two third parties share one.

    A tenant that keeps a server busy so keeps no other tenant waiting, and a server that keeps its callers waiting no
    other server's, though they be at one origin or behind one adapter host.
    """

    def __init__(self, sockets: dict[str, str], control: ControlClient, egress: Egress, launch_of: LaunchOf) -> None:
        self._sockets = sockets
        self._control = control
        self._egress = egress
        self._launch_of = launch_of
        self._pools: OrderedDict[tuple[str, str | Origin, str, bool], Pool] = OrderedDict()
        self._remotes: OrderedDict[tuple[str, str, str], Remote] = OrderedDict()

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()

    def at_hand(self, call: Call, installation: Installation, epoch: str) -> Way | None:
        """Return the way of a call where nobody has to be asked for it, as is most often so."""
        if installation.direct:
            remote = self._remotes.get((call.tenant, installation.name, epoch))
            return None if remote is None else self._to_remote(call, remote)
        path = None if installation.foreign else self._sockets.get(installation.service)
        return None if path is None else self._to_own(call, installation, self._pool(call.tenant, path))

    async def forget(self, tenant: str) -> None:
        """Close a tenant's connections and forget where its servers are."""
        for key in [key for key in self._remotes if key[0] == tenant]:
            del self._remotes[key]
        for key in [key for key in self._pools if key[0] == tenant]:
            await self._pools.pop(key).aclose()

    async def to(self, call: Call, installation: Installation, epoch: str, *, streams: bool = False) -> Way:
        """Return the way of a call; streams have connections of their own, so that they keep no call waiting."""
        if installation.direct:
            return self._to_remote(call, await self.remote(call.tenant, installation, epoch), streams)
        service = ADAPTER if installation.foreign else installation.service
        return self._to_own(
            call, installation, await self.service(service, call.tenant, installation.name, streams=streams)
        )

    def _to_remote(self, call: Call, remote: Remote, streams: bool = False) -> Way:
        return self._pool(call.tenant, remote.origin, remote.name, streams), remote.head + _mirroring(call)

    def _to_own(self, call: Call, installation: Installation, pool: Pool) -> Way:
        target = f"/servers/{installation.name}/mcp" if installation.foreign else "/mcp"
        return pool, _own_head(target) + _bearer(call.assertion) + _mirroring(call)

    async def service(self, service: str, tenant: str, server: str = "", *, streams: bool = False) -> Pool:
        """Return a tenant's connections to a process of ours, each of an adapter host's servers having its own."""
        path = self._sockets.get(service)
        if path is None and service == ADAPTER:
            path = await self._control.ensure(ADAPTER, tenant)
        if path is None:
            raise Unavailable(f"{service} does not run here")
        return self._pool(tenant, path, server if service == ADAPTER else "", streams)

    async def remote(self, tenant: str, installation: Installation, epoch: str) -> Remote:
        """Return where a remote server is, as of an epoch: its address, and the tenant's headers for it."""
        key = (tenant, installation.name, epoch)
        known = self._remotes.get(key)
        if known is None:
            said = await self._launch_of(tenant, installation.name)
            origin, target = read_url(str(said["url"]))
            headers = [(name.lower().encode(), str(value).encode()) for name, value in said["headers"].items()]
            head = head_bytes("POST", target, [*headers, *_EVERY, _UNCOMPRESSED], origin.authority.encode())
            known = self._remotes[key] = Remote(installation.name, origin, target, headers, head)
            while len(self._remotes) > MAX_LAUNCHES:
                self._remotes.popitem(last=False)
        return known

    def pool_of(self, tenant: str, remote: Remote, *, streams: bool = False) -> Pool:
        """Return a tenant's connections to a remote server."""
        return self._pool(tenant, remote.origin, remote.name, streams)

    def _pool(self, tenant: str, where: str | Origin, server: str = "", streams: bool = False) -> Pool:
        key = (tenant, where, server, streams)
        pool = self._pools.get(key)
        if pool is None:
            most = MAX_STREAMS if streams else MAX_CONNECTIONS
            pool = self._pools[key] = Pool(where, max_connections=most, egress=self._egress)
            if len(self._pools) > MAX_POOLS:
                self._forget_idle()
        return pool

    def _forget_idle(self) -> None:
        """Forget the pools that hold no connection; those that do are in use, or will close them themselves."""
        for key in [key for key, pool in self._pools.items() if pool.empty]:
            del self._pools[key]


@functools.lru_cache(4096)
def _own_head(target: str) -> bytes:
    """Return what the head of every request to a server at a process of ours begins with."""
    return head_bytes("POST", target, _EVERY)


@functools.lru_cache(4096)
def _bearer(assertion: str) -> bytes:
    """Return the line that shows an assertion: each is shown many times while it holds."""
    return header_lines([(b"authorization", b"Bearer " + assertion.encode())])


def _mirroring(call: Call) -> bytes:
    """Return the lines that mirror a request's body."""
    lines = _of_tool(call.tool) if call.method == TOOLS_CALL else _of(call.method, call.tool)
    return lines + header_lines(minted(call.mirrors, call.arguments)) if call.mirrors else lines


@functools.lru_cache(4096)
def _of_tool(name: str) -> bytes:
    """Return the lines of a tool's call; a tool's name is short and comes again, unlike a resource's URI."""
    return _of(TOOLS_CALL, name)


def _of(method: str, name: str) -> bytes:
    about = [(b"mcp-name", encoded(name))] if method in NAMED else []
    return header_lines([(b"mcp-method", method.encode()), *about])
