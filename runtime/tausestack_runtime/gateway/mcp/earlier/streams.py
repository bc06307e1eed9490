"""How a work goes back over HTTP: as JSON, or on an event stream that its client can resume."""

from __future__ import annotations

from tausestack.errors import Cancelled
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.mcp.earlier.works import Reader, Work

RESUMABLE = "2025-11-25"
"""The version from which on a stream begins with an event that only has an id, to come back with."""
BEGIN_SECONDS = 0.5
"""How long a reply may stay a plain one: after that its stream begins."""
KEEPALIVE_SECONDS = 15.0
RETRY_MS = 1000


async def reply(exchange: Exchange, work: Work) -> None:
    """Answer a POST with what comes of its requests; a client that goes away leaves them running."""
    try:
        await exchange.while_connected(_reply(exchange, work))
    except Cancelled:
        return


async def resume(exchange: Exchange, work: Work, after: int) -> None:
    """Answer a GET that comes back for the rest of a stream."""

    async def rest() -> None:
        with work.reading(after) as reader:
            await exchange.start_events()
            await _stream(exchange, work, reader, resumable=True)

    try:
        await exchange.while_connected(rest())
    except Cancelled:
        return


async def _reply(exchange: Exchange, work: Work) -> None:
    takes = exchange.accepts_events()
    resumable = takes and work.session.at_least(RESUMABLE)
    with work.reading() as reader:
        if takes:
            if not work.over:
                await reader.waited(BEGIN_SECONDS)
        else:
            while not work.over:
                await reader.waited(None)
        plain = work.over and work.silent and (not resumable or work.refusal is not None)
        if not takes or plain:
            await _plain(exchange, work)
            return
        if resumable:
            await exchange.chunk(b"id: %s-0\nretry: %d\ndata: \n\n" % (work.id.encode(), RETRY_MS))
        else:
            await exchange.start_events()
        await _stream(exchange, work, reader, resumable=resumable)


async def _plain(exchange: Exchange, work: Work) -> None:
    if work.refusal is not None and len(work.responses) == 1:
        error = work.refusal
        await exchange.fail(error, error.status, work.responses[0], b"application/json", b"message")
        return
    if not work.responses:  # cancelled: there is nothing to say
        await exchange.reply(202, b"")
        return
    body = b"[" + b",".join(work.responses) + b"]" if work.batch else work.responses[0]
    await exchange.reply(200, body)


async def _stream(exchange: Exchange, work: Work, reader: Reader, *, resumable: bool) -> None:
    while reader.current:
        over = work.over
        found = reader.take()
        for number, payload in found:
            name = b"id: %s-%d\n" % (work.id.encode(), number) if resumable else b""
            await exchange.chunk(name + b"event: message\ndata: " + payload + b"\n\n")
        if found:
            continue
        if over:
            break
        if resumable and reader.paused:
            await exchange.chunk(b"retry: %d\n\n" % work.retry_ms)
            break
        if not await reader.waited(KEEPALIVE_SECONDS):
            await exchange.chunk(b": still here\n\n")
    await exchange.end_events()
