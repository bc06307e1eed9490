"""One exchange with a remote server, taken up again where its stream breaks and can be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import orjson

from tausestack.raw import as_array, as_object, objects_in
from tausestack_runtime.adapters.asked import Answered
from tausestack_runtime.adapters.remote.requests import STREAM, Address
from tausestack_runtime.adapters.session.flight import numbered
from tausestack_runtime.adapters.session.peer import Expired
from tausestack_runtime.events import MAX_EVENT_BYTES, events
from tausestack_runtime.gateway.nesting import loads
from tausestack_runtime.gateway.upstreams.wire import Broken, Pool, Reply, TimedOut

ASK_SECONDS = 3600.0
"""How long a request may take at most; its caller has a deadline of his own."""
HEAR_SECONDS = 24 * 3600.0
DELETE_SECONDS = 3.0
MAX_RESUMES = 5
"""How often in a row a stream is taken up again that brings nothing new."""
MAX_PAUSE_SECONDS = 30.0
MAX_MOVES = 3
"""How often in a row a message is taken to where the server says that it is."""
_SAID = frozenset({"method", "result", "error"})
MOVED = frozenset({307, 308})
"""The statuses that have the same message go elsewhere."""

Take = Callable[[dict[str, Any], int | None], Awaitable[None]]


class Refused(Exception):
    """The server answers with an HTTP status and no JSON-RPC message; `answered` is that in JSON-RPC's words."""

    def __init__(self, status: int, location: str = "") -> None:
        self.status = status
        why = f"the server answered with HTTP {status} and no JSON-RPC response to what it was asked"
        if status in {401, 403}:
            why = f"the server does not accept the credential that it is installed with (HTTP {status})"
        elif 300 <= status < 400:
            place = location.partition("?")[0]
            to = f" to {place[:200]}" if place.isascii() and place.isprintable() and place else ""
            why = f"the server has moved{to} (HTTP {status}): install it at its new address"
        elif status == 405:
            why = "the server takes no POST (HTTP 405): it is none, or one of the transport before streamable HTTP"
        super().__init__(why)
        self.answered = Answered({"code": -32603, "message": why}, spoken=status)


class Exchange:
    """A message and what the server says to it; `number` is its id where it is a request."""

    def __init__(self, pool: Pool, address: Address, number: int | None, take: Take) -> None:
        self._pool, self._address, self._number, self._take = pool, address, number, take
        self.pause: float | None = None
        """How long the server wants to be left alone before it is asked again, in seconds."""
        self._last: bytes | None = None
        self._answered = False

    async def post(self, message: dict[str, Any], seconds: float) -> None:
        """Post what is no request."""
        reply = await self._posted(message, seconds)
        try:
            self._check(reply)
            await reply.read()
        finally:
            await reply.aclose()

    async def delete(self) -> None:
        """Give the session up."""
        reply = await self._send("DELETE", self._address.headers(), b"", DELETE_SECONDS)
        await reply.aclose()

    async def ask(self, message: dict[str, Any]) -> None:
        """Post a request and take what comes, until its response is there."""
        reply = await self._posted(message, ASK_SECONDS)
        session = reply.headers.get(b"mcp-session-id") if message.get("method") == "initialize" else None
        opens = message.get("method") == "initialize"
        resumes = 0
        while True:
            before = self._last
            try:
                await self._read(reply, opens=opens, session=session)
            except (Broken, TimedOut):
                if self._last is None:
                    raise
            finally:
                await reply.aclose()
            if self._answered:
                return
            resumes = resumes + 1 if self._last == before else 0
            if self._last is None or resumes >= MAX_RESUMES:
                raise Broken("its stream ended without a response")
            await asyncio.sleep(1.0 if self.pause is None else self.pause)
            reply = await self._send("GET", self._resuming(), b"", ASK_SECONDS)

    async def hear(self) -> bool:
        """Take what belongs to no request until the stream ends; return whether the server gives such a stream."""
        reply = await self._send("GET", self._resuming(), b"", HEAR_SECONDS)
        try:
            if reply.status in {405, 501} or (reply.status == 404 and self._address.session is None):
                return False
            if not _is_stream(reply):
                self._check(reply)
                return False
            await self._read(reply, opens=False, session=None)
        finally:
            await reply.aclose()
        return True

    async def _posted(self, message: dict[str, Any], seconds: float) -> Reply:
        """Post a message to where the server is, which it may say is elsewhere within its origin."""
        body, moves = orjson.dumps(message), 0
        while True:
            reply = await self._send("POST", self._address.of(message), body, seconds)
            moves += 1
            if reply.status not in MOVED or moves > MAX_MOVES or not self._address.moved(_location(reply)):
                return reply
            await reply.aclose()

    def _resuming(self) -> list[tuple[bytes, bytes]]:
        return self._address.headers(STREAM, *([] if self._last is None else [(b"last-event-id", self._last)]))

    async def _send(self, method: str, headers: list[tuple[bytes, bytes]], body: bytes, seconds: float) -> Reply:
        deadline = asyncio.get_running_loop().time() + seconds
        return await self._pool.request(
            method, self._address.target, headers, body, deadline=deadline, max_body=MAX_EVENT_BYTES
        )

    async def _read(self, reply: Reply, *, opens: bool, session: bytes | None) -> None:
        if not _is_stream(reply):
            raw = await reply.read()
            found = _messages(raw)
            if self._address.session is not None and reply.status in {400, 404}:
                # Some servers say 400 where a session is gone, and some 404 where what they are asked for isn't there.
                answered = any(numbered(message.get("id")) == self._number for message in found)
                if b"session" in raw.lower() or (reply.status == 404 and not answered):
                    raise Expired
            if not found and reply.open_ended and reply.status < 300:
                raise Broken("its reply ended with its connection, and is not JSON-RPC: it may have been cut")
            if not found:
                raise Refused(reply.status, _location(reply))
            for message in found:
                await self._took(message, opens=opens, session=session)
            if not self._answered:
                raise Refused(reply.status)
            return
        async with aclosing(events(reply.chunks())) as stream:
            async for event in stream:
                self._last = event.id or self._last
                if event.retry_ms is not None:
                    self.pause = min(event.retry_ms / 1000, MAX_PAUSE_SECONDS)
                for message in _messages(event.data):
                    await self._took(message, opens=opens, session=session)
                if self._answered:
                    return

    async def _took(self, message: dict[str, Any], *, opens: bool, session: bytes | None) -> None:
        if message.keys().isdisjoint(_SAID):
            return  # what is no message, as a proxy's heartbeat, has no place here
        if self._number is not None and "method" not in message:
            if message.get("id") is not None and numbered(message["id"]) != self._number:
                return  # another request's response has no place here
            message = {**message, "id": self._number}
            self._answered = True
            if opens and as_object(message.get("result")) is not None:
                self._address.opened(session, message["result"])
        elif "method" not in message:
            return
        await self._take(message, self._number)

    def _check(self, reply: Reply) -> None:
        if reply.status == 404 and self._address.session is not None:
            raise Expired
        if reply.status >= 300:
            raise Refused(reply.status, _location(reply))


def _location(reply: Reply) -> str:
    return reply.headers.get(b"location", b"").decode("latin-1")


def _is_stream(reply: Reply) -> bool:
    return reply.status == 200 and reply.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream")


def _messages(raw: bytes) -> list[dict[str, Any]]:
    """Return the JSON-RPC messages in a body or an event; some earlier servers send several at once."""
    try:
        value = loads(raw) if raw.strip() else None
    except orjson.JSONDecodeError:
        return []
    found = objects_in(value) if as_array(value) is not None else [as_object(value)]
    return [one for one in found if one is not None and one.get("jsonrpc") == "2.0"]
