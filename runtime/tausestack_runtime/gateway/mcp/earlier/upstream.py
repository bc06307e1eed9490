"""Sessions of ours at remote servers of earlier versions: one for each session of a client, with what it can do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
import structlog

from tausestack.errors import InvalidRequest, TauseError, UpstreamError
from tausestack.names import parse_resource_uri
from tausestack.raw import as_object, object_at
from tausestack.wire.request import Headers
from tausestack_runtime.events import events
from tausestack_runtime.gateway.installed import Installation
from tausestack_runtime.gateway.mcp.earlier.session import NoSession, Session
from tausestack_runtime.gateway.mcp.earlier.store import State, States, Upstream
from tausestack_runtime.gateway.nesting import loads
from tausestack_runtime.gateway.upstreams.replies import by_status
from tausestack_runtime.gateway.upstreams.routes import MAX_REPLY_BYTES
from tausestack_runtime.gateway.upstreams.ways import Ways
from tausestack_runtime.gateway.upstreams.wire import Broken, Reply, WireError

BRIEF_SECONDS = 10.0
"""How long a server may take over what is not a client's request: to begin a session, to hear of something."""
VERSION_HEADER = "2025-06-18"
"""The version from which on requests say their version."""
BODY: Headers = [(b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream")]

logger = structlog.get_logger("gateway")


class Place(NamedTuple):
    """A remote server as of an epoch."""

    installation: Installation
    epoch: str


Follow = Callable[[Session], Awaitable[None]]
"""Does what has to be done once a client's session has begun at another server."""


class UpstreamSessions:
    """Begins and ends sessions, and sends HTTP requests in them."""

    def __init__(self, ways: Ways, states: States) -> None:
        self._ways = ways
        self._states = states
        self._beginning: dict[tuple[str, str], asyncio.Task[Upstream]] = {}
        self.follow: Follow | None = None

    async def send(
        self, method: str, session: Session, place: Place, body: bytes, headers: Headers, deadline: float
    ) -> Reply:
        """Send a request in a client's session; one that the server has forgotten is begun anew, once."""
        is_new = place.installation.name not in (await self._states.of(session)).upstreams
        upstream = await self._of(session, place)
        if is_new and method == "POST" and self.follow is not None:
            await self.follow(session)
        reply = await self._sent(method, session, place, upstream, body, headers, deadline)
        if reply.status != 404 or upstream.id is None:
            return reply
        if method == "POST" and not is_stream(reply):
            raw = await reply.read()
            if _is_answer(raw):
                return reply.unread(raw)
        await reply.aclose()
        forgotten = (place.installation.name, upstream)

        def edit(state: State) -> State:
            return replace(state, upstreams=dict(one for one in state.upstreams.items() if one != forgotten))

        await self._states.change(session, edit)
        upstream = await self._of(session, place)
        return await self._sent(method, session, place, upstream, body, headers, deadline)

    async def end(self, session: Session, place: Place, upstream: Upstream) -> None:
        """End a session at a server, which may be away."""
        if upstream.id is None:
            return
        try:
            reply = await self._sent("DELETE", session, place, upstream, b"", [], _now() + BRIEF_SECONDS)
            await reply.aclose()
        except (WireError, TauseError) as error:
            logger.info("a session upstream was left", server=place.installation.name, error=str(error))

    async def _of(self, session: Session, place: Place) -> Upstream:
        """Return a client's session at a server; begins one where there is none."""
        known = (await self._states.of(session)).upstreams.get(place.installation.name)
        if known is not None:
            return known
        key = (session.id, place.installation.name)
        task = self._beginning.get(key)
        if task is None:
            task = self._beginning[key] = asyncio.create_task(self._begun(session, place))
            task.add_done_callback(lambda _: self._ended(key))
        return await asyncio.shield(task)

    def _ended(self, key: tuple[str, str]) -> None:
        task = self._beginning.pop(key)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever still waits for it has it raised; nobody may.
            logger.info("no session upstream", server=key[1], error=str(error))

    async def _begun(self, session: Session, place: Place) -> Upstream:
        name = place.installation.name
        upstream = await self._initialized(session, place)
        try:
            state = await self._states.change(
                session, lambda state: replace(state, upstreams={name: upstream, **state.upstreams})
            )
        except NoSession:  # the client went while this one came
            await self.end(session, place, upstream)
            raise
        if state.upstreams[name] == upstream:
            await self._restore(session, place, upstream, state)
        else:  # another gateway was faster
            await self.end(session, place, upstream)
        return state.upstreams[name]

    async def _initialized(self, session: Session, place: Place) -> Upstream:
        params = {
            "protocolVersion": session.version,
            "capabilities": session.capabilities,
            "clientInfo": {"name": "unnamed", "version": "0", **session.client},
        }
        nothing = Upstream(None, session.version)
        reply, response = await self._asked(session, place, nothing, "initialize", params)
        result = as_object(response.get("result"))
        if result is None:
            why = str(object_at(response, "error").get("message") or "no result")
            raise UpstreamError(f"{place.installation.name} refuses a session: {why[:400]}")
        given = reply.headers.get(b"mcp-session-id")
        upstream = Upstream(given.decode("latin-1") if given else None, str(result.get("protocolVersion")))
        done = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})
        reply = await self._sent("POST", session, place, upstream, done, BODY, _now() + BRIEF_SECONDS)
        await reply.aclose()
        return upstream

    async def _restore(self, session: Session, place: Place, upstream: Upstream, state: State) -> None:
        """Tell a server in a new session what the client has set already; what it refuses, it will refuse again."""
        if state.level is not None and "logging" in place.installation.offer.capabilities:
            await self._asked(session, place, upstream, "logging/setLevel", {"level": state.level})
        for uri in state.watched:
            own = own_uri(session, place.installation, uri)
            if own is not None:
                await self._asked(session, place, upstream, "resources/subscribe", {"uri": own})

    async def _asked(
        self, session: Session, place: Place, upstream: Upstream, method: str, params: dict[str, Any]
    ) -> tuple[Reply, dict[str, Any]]:
        """Send a request of ours, and return the reply with the response in it."""
        request = {"jsonrpc": "2.0", "id": f"gateway-{method}", "method": method, "params": params}
        body = orjson.dumps(request)
        reply = await self._sent("POST", session, place, upstream, body, BODY, _now() + BRIEF_SECONDS)
        try:
            if not is_stream(reply):
                return reply, message_of(place, await reply.read(), reply.status)
            async with aclosing(events(reply.chunks())) as found:
                async for event in found:
                    message = message_of(place, event.data, 200) if event.data else {}
                    if message.get("id") == request["id"]:
                        return reply, message
        finally:
            await reply.aclose()
        raise Broken("the stream ended without a response")

    async def _sent(
        self,
        method: str,
        session: Session,
        place: Place,
        upstream: Upstream,
        body: bytes,
        headers: Headers,
        deadline: float,
    ) -> Reply:
        remote = await self._ways.remote(session.tenant, place.installation, place.epoch)
        own = [*remote.headers, *headers]
        if upstream.id is not None:
            own.append((b"mcp-session-id", upstream.id.encode("latin-1")))
        if upstream.version >= VERSION_HEADER:
            own.append((b"mcp-protocol-version", upstream.version.encode("latin-1")))
        pool = self._ways.pool_of(session.tenant, remote, streams=True)
        return await pool.request(method, remote.target, own, body, deadline=deadline, max_body=MAX_REPLY_BYTES)


def own_uri(session: Session, installation: Installation, uri: str) -> str | None:
    """Return a server's own name for a resource that its client watches, or None where that is another's."""
    if session.server is not None:
        return uri
    try:
        server, original = parse_resource_uri(uri)
    except InvalidRequest:
        return uri if installation.default else None
    return original if server == installation.name else None


def is_stream(reply: Reply) -> bool:
    """Whether a reply is an event stream."""
    return reply.headers.get(b"content-type", b"").startswith(b"text/event-stream")


def _is_answer(raw: bytes) -> bool:
    """Whether what came with HTTP 404 answers a request, rather than saying that its session is gone."""
    try:
        message = as_object(loads(raw)) or {}
    except orjson.JSONDecodeError:
        return False
    return bool(message.get("id")) and b"session" not in raw.lower()


def message_of(place: Place, raw: bytes, status: int) -> dict[str, Any]:
    """Return the JSON-RPC message in some bytes, or raise `UpstreamError`."""
    try:
        message = as_object(loads(raw))
    except orjson.JSONDecodeError as error:
        if status >= 300:
            raise by_status(place.installation.name, status) from error
        raise UpstreamError(f"{place.installation.name} answered with something that is not JSON") from error
    if message is None:
        raise UpstreamError(f"{place.installation.name} answered with something that is not a JSON-RPC message")
    return message


def _now() -> float:
    return asyncio.get_running_loop().time()
