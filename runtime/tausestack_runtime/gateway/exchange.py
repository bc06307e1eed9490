"""One HTTP exchange: what every door needs of a request and a reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

import orjson

from tausestack.contract import Principal
from tausestack.errors import Cancelled, InvalidRequest, PayloadTooLarge, TauseError, Unauthenticated, to_problem
from tausestack.raw import as_object
from tausestack_runtime.gateway.crowd import LIGHT, Share, Shares, Turns
from tausestack_runtime.gateway.http.head import HEAVY, Head
from tausestack_runtime.gateway.http.line import Incoming, Line
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

Headers = list[tuple[bytes, bytes]]

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_WHOLE = b"%bcontent-type: %b\r\ncontent-length: %d\r\n%b%b\r\n"
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09})
"""What no header may hold."""
_BROKEN = b"%bcontent-length: 0\r\nconnection: close\r\n\r\n" % _LINES[500]
_CLOSE = b"connection: close\r\n"
_BODILESS = frozenset({204, 304})


def _bare(_: Exchange, error: TauseError) -> bytes | None:
    return b'Bearer realm="tausestack"' if isinstance(error, Unauthenticated) else None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What tenants may have open at once and read in turn; `challenge` tells what an error asks."""

    shares: Share
    weights: Shares
    challenge: Challenge = _bare
    turns: Turns = field(default_factory=Turns)


class Exchange:
    """A request as it came, and its reply as it goes out."""

    def __init__(self, head: Head, line: Line, body: bytes | Incoming) -> None:
        self.head = head
        self.method = head.method
        self.path = head.path
        self.headers = head.headers
        """By lower-case names; the last one where it is repeated."""
        self.internal: bool = line.inside and head.headers.get(FORWARDED) != PUBLICLY
        """Whether it came through an internal socket, which only our own processes can reach."""
        self._line = line
        self._incoming, self.whole = (body, None) if isinstance(body, Incoming) else (None, body)
        """The whole body, once that is there."""
        self.task: asyncio.Task[None] | None = None
        """Who answers it, where that is known."""
        self.asker: Principal | None = None
        """Who asks, once that is known."""
        self.noted = False
        """Whether what comes of it is told in the ledger already, or will be."""
        self.replied = self.streaming = self.ended = False
        self._gone = self._chunked = False
        self._worker: asyncio.Task[Any] | None = None
        """Who works for the caller, and is cancelled when that goes away."""
        self.bounds: Bounds | None = None
        """What is bounded of it, where something is."""
        self._tenant: str | None = None
        self._weight = 0

    def belong(self, tenant: str) -> None:
        """Count among a tenant's open exchanges until it is closed; raises `RateLimited` over the tenant's share.

        Those of our own processes are not counted: they are parts of what came from outside. Nor is what another
        gateway handed over: it counts there.
        """
        if self.bounds is not None and self._tenant is None and not self._line.inside:
            self.bounds.shares.take(tenant)
            self._tenant = tenant

    def close(self) -> None:
        """Give back the tenant's share; a caller whose reply is not whole sees that."""
        if self.bounds is not None and self._tenant is not None:
            self.bounds.shares.give_back(self._tenant)
            if self._weight:
                self.bounds.weights.give_back(self._tenant, self._weight)
            self._tenant, self._weight = None, 0
        if not self.ended and not self._gone:
            if not self.replied and not self.streaming:
                self._line.write(_BROKEN)
            self._line.close()

    def _weigh(self, size: int) -> None:
        """Count bytes among those that are held for the tenant, or raise `RateLimited`."""
        if size > LIGHT and self.bounds is not None and self._tenant is not None:
            self.bounds.weights.take(self._tenant, size)
            self._weight += size

    # The request

    @property
    def forwarded(self) -> bool:
        """Whether another gateway handed it over."""
        return self._line.inside and FORWARDED in self.headers

    @property
    def query(self) -> bytes:
        """What follows the path."""
        return self.head.query

    @property
    def raw_headers(self) -> Headers:
        """The headers in order, by lower-case names."""
        return self.head.raw_headers

    @property
    def repeated(self) -> frozenset[bytes]:
        """The names of the headers that came more than once."""
        return self.head.repeated

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
        head = self.head
        return (head.raw_path + b"?" + head.query if head.query else head.raw_path).decode("latin-1")

    async def body(self) -> bytes:
        """Return the whole body, or raise `PayloadTooLarge` above 4 MiB, and `Cancelled` where the caller went away."""
        if self.whole is None:
            self.whole = await self._read()
        return self.whole

    async def _read(self) -> bytes:
        assert self._incoming is not None
        declared = self.head.length
        if declared is not None and declared > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"A request may have {MAX_BODY_BYTES} bytes at most", limit=MAX_BODY_BYTES)
        # What does not say its length may have all that there may be.
        self._weigh(declared if declared is not None else MAX_BODY_BYTES if self.head.chunked else 0)
        body = await self._incoming.whole(MAX_BODY_BYTES, expected=self.head.expects)
        if len(body) > HEAVY and self.bounds is not None and self._tenant is not None:
            await self.bounds.turns.next(self._tenant, body)
        return body

    async def json_object(self) -> tuple[dict[str, Any], int]:
        """Return the body as a JSON object and its length in bytes; an empty body is an empty object."""
        raw = await self.body() if self.whole is None else self.whole
        if not raw:
            return {}, 0
        try:
            value = as_object(loads_strictly(raw))
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not JSON: {error}") from error
        if value is None:
            raise InvalidRequest("The body has to be a JSON object")
        return value, len(raw)

    # The caller

    async def while_connected(self, work: Awaitable[T]) -> T:
        """Return what the work returns; a caller that goes away cancels it, which raises `Cancelled` at its end.

        The work is done by the task that asks, so that its line in the ledger and its upstream's connection have ended
        too.
        """
        task = self._worker = self.task or asyncio.current_task()
        assert task is not None
        if self._gone:
            task.cancel()
        try:
            return await work
        except asyncio.CancelledError:
            if self._gone and task.uncancel() == 0:
                raise Cancelled("The caller went away") from None
            raise
        finally:
            self._worker = None

    def lost(self) -> None:
        """Hear from the connection that the caller has gone."""
        self._gone = True
        if self._worker is not None:
            self._worker.cancel()

    # The reply

    async def reply(self, status: int, body: bytes, content_type: bytes = JSON, headers: Headers | None = None) -> None:
        """Send a whole reply; one that is large counts until its caller has taken it."""
        if len(body) > LIGHT:
            self._weigh(len(body))
        self.replied = True
        line = self._line
        if line.blocked:
            await line.drained()
        more = _written(headers) if headers else b""
        head = _WHOLE % (_LINES[status], content_type, len(body), more, b"" if line.keeps else _CLOSE)
        if len(body) <= LIGHT and self.method != "HEAD":
            line.write(head + body)
        else:
            line.write(head)
            await self._write(body)
        self._end()

    async def relay(self, status: int, headers: Headers, chunks: AsyncIterable[bytes]) -> None:
        """Send another's reply as it comes; its headers say nothing of its length."""
        self.replied = True
        await self._begin(status, headers)
        async for chunk in chunks:
            await self._write(chunk)
        await self._finish()

    async def _begin(self, status: int, headers: Headers) -> None:
        """Send the head of a reply that says its end when it comes to it."""
        line = self._line
        await line.drained()
        self._chunked = self.method != "HEAD" and status not in _BODILESS
        last = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        line.write(b"%b%b%b%b\r\n" % (_LINES[status], _written(headers), last, b"" if line.keeps else _CLOSE))

    async def _write(self, body: bytes) -> None:
        """Send a part of a reply's body, no more of it ahead than the connection has room for."""
        if self.method == "HEAD":
            return
        for start in range(0, len(body), LIGHT):
            piece = body[start : start + LIGHT]
            await self._line.drained()
            self._line.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def _finish(self) -> None:
        await self._line.drained()
        if self._chunked:
            self._line.write(b"0\r\n\r\n")
        self._end()

    def _end(self) -> None:
        self.ended = True
        if self._incoming is not None:
            self._incoming.drop()
        if not self._gone:
            self._line.answered()

    async def reply_json(self, status: int, value: Any, headers: Headers | None = None) -> None:
        """Send a JSON reply."""
        await self.reply(status, orjson.dumps(value), JSON, headers)

    async def fail(self, error: TauseError, status: int, body: bytes, content_type: bytes, event: bytes) -> None:
        """Answer with an error in the door's own words; a stream that has begun ends with it."""
        if self.streaming:
            await self.event(body, event)
            await self.end_events()
            return
        challenge = (_bare if self.bounds is None else self.bounds.challenge)(self, error)
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
        await self._begin(200, headers)

    async def event(self, payload: bytes, name: bytes = b"message") -> None:
        """Send one event; the payload has no line breaks, as JSON that we write never has."""
        await self.start_events()
        body = b"event: " + name + b"\ndata: " + payload.replace(b"\r", b"").replace(b"\n", b"\ndata: ") + b"\n\n"
        await self._write(body)

    async def notify(self, message: dict[str, Any]) -> None:
        """Tell a caller that takes an event stream something before the reply."""
        if self.accepts_events():
            await self.event(orjson.dumps(message))

    async def chunk(self, body: bytes) -> None:
        """Send a piece of a stream as it is."""
        await self.start_events()
        await self._write(body)

    async def end_events(self) -> None:
        """End the event stream."""
        await self._finish()


def _written(headers: Headers | None) -> bytes:
    """Return headers as they are sent, or raise `ValueError` where one would end early."""
    if not headers:
        return b""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if len(lines.translate(None, _CONTROLS)) != len(lines) - len(headers) * len(b"\r\n"):
        raise ValueError("a header of a reply is malformed")
    return lines
