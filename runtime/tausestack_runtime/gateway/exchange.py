"""One HTTP exchange over bare ASGI: what every door needs of a request and a reply."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from tausestack.contract import Principal
from tausestack.errors import InvalidRequest, PayloadTooLarge, TauseError, Unauthenticated, to_problem
from tausestack.raw import as_object
from tausestack_runtime.asgi import (
    DEPARTURE,
    REPLY,
    Awaited,
    Departure,
    Receive,
    Scope,
    Send,
    WholeReply,
    read_body,
    while_connected,
)
from tausestack_runtime.gateway.crowd import LIGHT, Share, Shares
from tausestack_runtime.gateway.limits.headers import refusal_headers
from tausestack_runtime.gateway.nesting import loads_strictly

T = TypeVar("T")
Challenge = Callable[["Exchange", TauseError], "bytes | None"]
"""What `WWW-Authenticate` says with an error, or None where it says nothing."""

MAX_BODY_BYTES = 4 * 1024 * 1024
JSON = b"application/json"
PROBLEM = b"application/problem+json"
EVENT_STREAM = b"text/event-stream"
FORWARDED = b"tausestack-forwarded"
"""What a gateway says to another of a request that it hands over: `INTERNALLY` or `PUBLICLY`, as it came in."""
INTERNALLY, PUBLICLY = b"internally", b"publicly"


class Exchange:
    """A request as it came, and its reply as it goes out."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        shares: Share | None = None,
        weights: Shares | None = None,
        challenge: Challenge | None = None,
    ) -> None:
        """`shares` are what tenants may have open at once, and `weights` the bytes in that, where that is bounded.

        `challenge` says what an error asks of the caller.
        """
        self._challenge = challenge or _challenge
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        # The parser leaves the white space at a value's end, which is not of the value.
        self.headers = {name: value.rstrip(b" \t") for name, value in self.raw_headers}
        """By lower-case names; the last one where it is repeated."""
        inside = (scope.get("server") or ("", 0))[1] is None
        self.forwarded: bool = inside and FORWARDED in self.headers
        """Whether another gateway handed it over."""
        self.internal: bool = inside and self.headers.get(FORWARDED) != PUBLICLY
        """Whether it came through an internal socket, which only our own processes can reach."""
        self._raw_path: bytes = scope.get("raw_path") or quote(self.path).encode()
        self._body: bytes | None = None
        self._receive, self._send = receive, send
        extensions = scope.get("extensions", {})
        self._departure: Departure = extensions.get(DEPARTURE) or Awaited(receive)
        self._send_whole: WholeReply | None = extensions.get(REPLY)
        self.streaming = False
        self.replied = False
        self._shares, self._weights = shares, weights
        self._tenant: str | None = None
        self._weight = 0
        self.asker: Principal | None = None
        """Who asks, once that is known."""
        self.noted = False
        """Whether what comes of it is told in the ledger already, or will be."""

    def belong(self, tenant: str) -> None:
        """Count among a tenant's open exchanges until it is closed; raises `RateLimited` over the tenant's share.

        Those of our own processes are not counted: they are parts of what came from outside. Nor is what another
        gateway handed over: it counts there.
        """
        if self._shares is not None and self._tenant is None and not self.internal and not self.forwarded:
            self._shares.take(tenant)
            self._tenant = tenant

    def close(self) -> None:
        """Give back the tenant's share."""
        if self._shares is not None and self._tenant is not None:
            self._shares.give_back(self._tenant)
            if self._weights is not None and self._weight:
                self._weights.give_back(self._tenant, self._weight)
            self._tenant, self._weight = None, 0

    def _weigh(self, size: int) -> None:
        """Count bytes among those that are held for the tenant, or raise `RateLimited`."""
        if size > LIGHT and self._weights is not None and self._tenant is not None:
            self._weights.take(self._tenant, size)
            self._weight += size

    @property
    def repeated(self) -> set[bytes]:
        """The names of the headers that came more than once."""
        if len(self.headers) == len(self.raw_headers):
            return set()
        counts = Counter(name for name, _ in self.raw_headers)
        return {name for name, count in counts.items() if count > 1}

    def header(self, name: bytes) -> str | None:
        """Return a header's value by its lower-case name; the last one where it is repeated."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def accepts_events(self) -> bool:
        """Whether the caller takes an event stream."""
        return EVENT_STREAM in self.headers.get(b"accept", b"")

    @property
    def target(self) -> str:
        """The path and the query, as they came."""
        target = self._raw_path + b"?" + self.query if self.query else self._raw_path
        return target.decode("latin-1")

    async def body(self) -> bytes:
        """Return the whole body, or raise `PayloadTooLarge` above 4 MiB."""
        if self._body is None:
            self._body = await self._read()
        return self._body

    async def _read(self) -> bytes:
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"A request may have {MAX_BODY_BYTES} bytes at most", limit=MAX_BODY_BYTES)
        # What does not say its length may have all that there may be.
        self._weigh(
            int(declared) if declared.isdigit() else MAX_BODY_BYTES if b"transfer-encoding" in self.headers else 0
        )
        return await read_body(self._receive, MAX_BODY_BYTES)

    async def json_object(self) -> tuple[dict[str, Any], int]:
        """Return the body as a JSON object and its length in bytes; an empty body is an empty object."""
        raw = await self.body()
        if not raw:
            return {}, 0
        try:
            value = as_object(loads_strictly(raw))
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not JSON: {error}") from error
        if value is None:
            raise InvalidRequest("The body has to be a JSON object")
        return value, len(raw)

    def while_connected(self, work: Awaitable[T]) -> Awaitable[T]:
        """Return what the work returns; a caller that goes away cancels it, which raises `Cancelled` at its end."""
        return while_connected(work, self._departure)

    async def reply(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Send a whole reply; one that is large counts until its caller has taken it."""
        self._weigh(len(body))
        self.replied = True
        light = not headers and len(body) <= LIGHT
        if light and self._send_whole is not None and self._send_whole(status, content_type, body):
            return
        own = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await self._send({"type": "http.response.start", "status": status, "headers": own + (headers or [])})
        await self._write(body, more=False)

    async def _write(self, body: bytes, *, more: bool) -> None:
        """Send a part of a reply's body, no more of it ahead than the connection has room for."""
        for start in range(0, len(body) - LIGHT, LIGHT):
            await self._send({"type": "http.response.body", "body": body[start : start + LIGHT], "more_body": True})
        last = (len(body) - 1) // LIGHT * LIGHT if len(body) > LIGHT else 0
        await self._send({"type": "http.response.body", "body": body[last:] if last else body, "more_body": more})

    async def relay(self, status: int, headers: list[tuple[bytes, bytes]], chunks: AsyncIterable[bytes]) -> None:
        """Send another's reply as it comes."""
        self.replied = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        async for chunk in chunks:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def reply_json(self, status: int, value: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        """Send a JSON reply."""
        await self.reply(status, orjson.dumps(value), JSON, headers)

    async def fail(self, error: TauseError, status: int, body: bytes, content_type: bytes, event: bytes) -> None:
        """Answer with an error in the door's own words; a stream that has begun ends with it."""
        if self.streaming:
            await self.event(body, event)
            await self.end_events()
            return
        challenge = self._challenge(self, error)
        headers = [] if challenge is None else [(b"www-authenticate", challenge)]
        if "retry_after" in error.data:
            headers += [(b"retry-after", str(error.data["retry_after"]).encode()), *refusal_headers(error.data)]
        await self.reply(status, body, content_type, headers)

    async def problem(self, error: TauseError) -> None:
        """Answer with an error as RFC 9457 has it, which is how every door but MCP's does."""
        await self.fail(error, error.status, orjson.dumps(to_problem(error)), PROBLEM, b"error")

    async def start_events(self) -> None:
        """Begin an event stream, once."""
        if self.streaming:
            return
        self.streaming = True
        headers = [
            (b"content-type", EVENT_STREAM),
            (b"cache-control", b"no-cache, no-transform"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def event(self, payload: bytes, name: bytes = b"message") -> None:
        """Send one event; the payload has no line breaks, as JSON that we write never has."""
        await self.start_events()
        body = b"event: " + name + b"\ndata: " + payload.replace(b"\r", b"").replace(b"\n", b"\ndata: ") + b"\n\n"
        await self._write(body, more=True)

    async def chunk(self, body: bytes) -> None:
        """Send a piece of a stream as it is."""
        await self.start_events()
        await self._write(body, more=True)

    async def end_events(self) -> None:
        """End the event stream."""
        await self._send({"type": "http.response.body", "body": b""})


def _challenge(_: Exchange, error: TauseError) -> bytes | None:
    return b'Bearer realm="tausestack"' if isinstance(error, Unauthenticated) else None
