"""What goes to and fro in a session at a remote server of an earlier version: requests, notifications, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import orjson

from tausestack.errors import Unavailable
from tausestack_runtime.events import events
from tausestack_runtime.gateway.mcp.earlier.session import Session
from tausestack_runtime.gateway.mcp.earlier.upstream import (
    BODY,
    BRIEF_SECONDS,
    Place,
    UpstreamSessions,
    is_stream,
    message_of,
)
from tausestack_runtime.gateway.upstreams.replies import check_whole
from tausestack_runtime.gateway.upstreams.wire import Broken, Reply, WireError

STREAM_SECONDS = 6 * 3600.0
RETRY_MS, LEAST_RETRY_MS, MOST_RETRY_MS = 1000, 50, 30_000

Paused = Callable[[int], None]
"""Takes that a server closed a stream in the middle, to be asked again after so many milliseconds."""


class Conversation:
    """Speaks in sessions, and hears what comes back."""

    def __init__(self, sessions: UpstreamSessions) -> None:
        self._sessions = sessions

    async def exchange(
        self, session: Session, place: Place, message: dict[str, Any], deadline: float, paused: Paused
    ) -> AsyncGenerator[dict[str, Any]]:
        """Send a request and yield what comes back, to its response; what breaks off is resumed where that can be.

        Raises `Broken` where it can't, and whatever else the wire raises.
        """
        reply = await self._sessions.send("POST", session, place, orjson.dumps(message), BODY, deadline)
        last, retry = b"", RETRY_MS
        while True:
            try:
                if not is_stream(reply):
                    raw = await reply.read()
                    if reply.open_ended and reply.status < 300:
                        check_whole(raw)
                    yield message_of(place, raw, reply.status)
                    return
                async with aclosing(events(reply.chunks())) as found:
                    async for event in found:
                        last = event.id or last
                        retry = retry if event.retry_ms is None else event.retry_ms
                        if event.data:
                            yield message_of(place, event.data, 200)
            except Broken:
                if not last:
                    raise
            finally:
                await reply.aclose()
            if not last:
                raise Broken("the stream ended without a response")
            paused(retry)
            await asyncio.sleep(min(max(retry, LEAST_RETRY_MS), MOST_RETRY_MS) / 1000)
            reply = await self._stream(session, place, [(b"last-event-id", last)], deadline)

    async def listen(self, session: Session, place: Place) -> AsyncGenerator[dict[str, Any] | None]:
        """Yield None once a server's own stream is open, and then what it tells there, until the stream ends.

        A server that has no such stream ends it at once.
        """
        try:
            reply = await self._stream(session, place, [], _now() + STREAM_SECONDS)
        except Broken:
            return
        try:
            yield None
            async with aclosing(events(reply.chunks())) as found:
                async for event in found:
                    if event.data:
                        yield message_of(place, event.data, 200)
        finally:
            await reply.aclose()

    async def ask(self, session: Session, place: Place, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a small request of ours."""
        request_id = f"gateway-{method}"
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        try:
            found = self.exchange(session, place, message, _now() + BRIEF_SECONDS, lambda _: None)
            async with aclosing(found) as messages:
                async for each in messages:
                    if each.get("id") == request_id and "method" not in each:
                        return each
        except WireError as error:
            raise Unavailable(f"{place.installation.name} does not answer") from error
        raise Unavailable(f"{place.installation.name} does not answer")

    async def tell(self, session: Session, place: Place, message: dict[str, Any]) -> None:
        """Send a notification or a response."""
        try:
            reply = await self._sessions.send(
                "POST", session, place, orjson.dumps(message), BODY, _now() + BRIEF_SECONDS
            )
            await reply.aclose()
        except WireError as error:
            raise Unavailable(f"{place.installation.name} does not answer") from error

    async def _stream(
        self, session: Session, place: Place, headers: list[tuple[bytes, bytes]], deadline: float
    ) -> Reply:
        headers = [(b"accept", b"text/event-stream"), *headers]
        reply = await self._sessions.send("GET", session, place, b"", headers, deadline)
        if reply.status != 200 or not is_stream(reply):
            await reply.aclose()
            raise Broken("the server has no such stream")
        return reply


def _now() -> float:
    return asyncio.get_running_loop().time()
