"""The other gateways behind the same port: handing a request to the one that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import structlog

from tausestack.errors import (
    Cancelled,
    DeadlineExceeded,
    InDoubt,
    InvalidRequest,
    NotFound,
    TauseError,
    Unavailable,
    to_jsonrpc,
)
from tausestack.raw import as_object
from tausestack_runtime.board import Board
from tausestack_runtime.gateway.exchange import FORWARDED, INTERNALLY, JSON, PUBLICLY, Exchange
from tausestack_runtime.gateway.nesting import loads
from tausestack_runtime.gateway.upstreams.wire import MAX_BODY_BYTES, NotSent, Pool, Reply, TimedOut, WireError
from tausestack_runtime.services import gateway_socket

FORWARD_SECONDS = 3600.0
"""How long a request may be with a sibling; its own deadline is kept there."""
ASK_SECONDS = 2.0
MAX_CONNECTIONS = 512
"""How many requests may be with one sibling: some are streams, which stay."""

_FRAMING = frozenset(
    {b"connection", b"content-length", b"expect", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)

logger = structlog.get_logger("gateway")


class Elsewhere(Exception):
    """A request belongs to another gateway: a door that raises this has it handed over."""

    def __init__(self, number: int) -> None:
        super().__init__(f"gateway {number}")
        self.number = number


class Siblings:
    """The gateways of a stack by their numbers, this one's own among them.

    A request that was handed over once is never handed on, so that there are no loops.
    """

    def __init__(self, board: Board, number: int, run: Path) -> None:
        self.board = board
        self.number = number
        self._pools = {
            other: Pool(str(gateway_socket(run, other)), max_connections=MAX_CONNECTIONS)
            for other in board.numbers
            if other != number
        }

    @property
    def others(self) -> tuple[int, ...]:
        """The numbers of the other gateways, there or not."""
        return tuple(self._pools)

    def check_here(self, number: int | None) -> None:
        """Raise `Elsewhere` where a number is that of another gateway."""
        if number in self._pools:
            raise Elsewhere(number)

    async def hand_over(self, exchange: Exchange, number: int) -> None:
        """Answer a request that a door could not: what another gateway answers, else why there is no answer."""
        try:
            await self.forward(exchange, number)
        except Cancelled:
            return
        except TauseError as error:
            if not exchange.path.removesuffix("/").endswith("/mcp"):
                await exchange.problem(error)
                return
            request_id = _request_id(await exchange.body())
            body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": to_jsonrpc(error)})
            await exchange.fail(error, error.status, body, JSON, b"message")

    async def forward(self, exchange: Exchange, number: int) -> None:
        """Have another gateway answer a request, and pass its reply on as it comes; a caller that goes away ends it.

        Before the reply has begun it raises `NotFound` for a gateway that can't be, `Unavailable` for one that is gone,
        `InDoubt` where that went away with the request, and `Cancelled` where the caller did.
        """
        if exchange.forwarded or number not in self._pools:
            raise NotFound("There is no gateway that this request belongs to")
        body = await exchange.body()
        await exchange.while_connected(self._exchanged(exchange, number, body))

    async def tell_all(self, exchange: Exchange) -> None:
        """Have every other gateway hear a request too, whatever they answer: one that is gone has nothing to do."""
        if exchange.forwarded:
            return
        method, target, headers = exchange.method, exchange.target, _handed(exchange)
        body = await exchange.body()

        async def tell(number: int) -> None:
            try:
                async with self._sent(number, method, target, headers, body, ASK_SECONDS) as reply:
                    await reply.read()
            except (Unavailable, WireError) as error:
                logger.info("a gateway did not hear", gateway=number, error=str(error))

        await asyncio.gather(*(tell(number) for number in self._pools))

    async def ask(self, number: int, path: str) -> bytes | None:
        """Return what another gateway itself answers to a GET, or None where it doesn't."""
        try:
            async with self._sent(number, "GET", path, [(FORWARDED, INTERNALLY)], b"", ASK_SECONDS) as reply:
                body = await reply.read()
                return body if reply.status == 200 else None
        except (Unavailable, WireError):
            return None

    async def aclose(self) -> None:
        """Close the connections to the others."""
        for pool in self._pools.values():
            await pool.aclose()

    async def _exchanged(self, exchange: Exchange, number: int, body: bytes) -> None:
        headers = _handed(exchange)
        method = "GET" if exchange.method == "HEAD" else exchange.method
        try:
            async with self._sent(number, method, exchange.target, headers, body, FORWARD_SECONDS) as reply:
                kept = [pair for pair in reply.headers.items() if pair[0] not in _FRAMING]
                await exchange.relay(reply.status, kept, reply.chunks())
        except TimedOut as error:
            raise DeadlineExceeded(f"gateway {number} did not answer in time") from error
        except WireError as error:
            if not exchange.replied:
                raise InDoubt(f"gateway {number} went away with the request: it may or may not have run") from error
            # The reply is left unfinished, which its reader sees.
            logger.warning("a gateway broke off in the middle of its reply", gateway=number)
        except ValueError as error:
            raise InvalidRequest("The request can't be handed to the gateway that it belongs to") from error

    @asynccontextmanager
    async def _sent(
        self, number: int, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes, seconds: float
    ) -> AsyncGenerator[Reply]:
        if self.board.connections(number) is None:
            raise Unavailable(f"gateway {number} is not there", retry_after=1)
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            reply = await self._pools[number].request(
                method, target, headers, body, deadline=deadline, max_body=MAX_BODY_BYTES
            )
        except NotSent as error:
            raise Unavailable(f"gateway {number} takes no requests", retry_after=1) from error
        try:
            yield reply
        finally:
            await reply.aclose()


def _handed(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Return a request's headers as another gateway gets them."""
    headers = [pair for pair in exchange.raw_headers if pair[0] not in _FRAMING and pair[0] != FORWARDED]
    return [*headers, (FORWARDED, INTERNALLY if exchange.internal else PUBLICLY)]


def _request_id(body: bytes) -> Any:
    try:
        return (as_object(loads(body)) or {}).get("id")
    except orjson.JSONDecodeError:
        return None
