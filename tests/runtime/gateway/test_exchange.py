"""An exchange ends its work when its caller goes away, and never before the work has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from tausestack.errors import Cancelled
from tausestack_runtime.events import BURST_LINES, MAX_EVENT_BYTES, event_payloads, events
from tausestack_runtime.gateway.exchange import Exchange
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.upstreams.wire import TooLarge

pytestmark = pytest.mark.anyio


def exchange(*headers: tuple[bytes, bytes]) -> Exchange:
    """Return an exchange whose connection is never asked for anything."""
    line: Any = SimpleNamespace(inside=False)
    return Exchange(Head("POST", b"/", list(headers)), line, b"")


class Caller:
    """A caller that goes away when told to, and work that takes its time to end."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), False
        self.exchange = exchange()

    async def work(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


@pytest.mark.covers("exchange:caller-goes-away")
async def test_work_has_ended_when_its_caller_is_known_to_be_gone() -> None:
    caller = Caller()
    waiting = asyncio.create_task(caller.exchange.while_connected(caller.work()))
    await caller.begun.wait()
    caller.exchange.lost()
    with pytest.raises(Cancelled):
        await waiting
    assert caller.ended


@pytest.mark.covers("exchange:caller-goes-away")
@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_connection_that_tells_of_its_end_ends_the_work(when: str) -> None:
    told, ended = exchange(), asyncio.Event()

    async def work() -> None:
        if when == "meanwhile":
            asyncio.get_running_loop().call_soon(told.lost)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    if when == "before":
        told.lost()
    with pytest.raises(Cancelled):
        await told.while_connected(work())
    assert ended.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.covers("exchange:caller-goes-away")
async def test_a_connection_that_ends_after_the_work_ends_nothing() -> None:
    told = exchange()

    async def work() -> str:
        return "done"

    assert await told.while_connected(work()) == "done"
    told.lost()
    await asyncio.sleep(0)


@pytest.mark.covers("exchange:cancelled")
async def test_a_cancelled_exchange_ends_after_its_work() -> None:
    caller = Caller()
    waiting = asyncio.create_task(caller.exchange.while_connected(caller.work()))
    await caller.begun.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert caller.ended


@pytest.mark.covers("wire:events-are-bounded")
async def test_an_event_that_has_no_end_is_refused() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data: " + b"x" * (MAX_EVENT_BYTES // 4)

    with pytest.raises(TooLarge):
        async for _ in event_payloads(endless()):
            pass


@pytest.mark.covers("wire:pieces")
async def test_an_event_in_pieces_of_a_byte_is_read_in_linear_time() -> None:
    async def dripping() -> AsyncIterator[bytes]:
        for piece in b"data: " + b"x" * 1_000_000 + b"\r\n\r\n":
            yield bytes((piece,))

    begun = time.process_time()
    assert [len(each) async for each in event_payloads(dripping())] == [1_000_000]
    assert time.process_time() - begun < 10  # a minute and more where each piece has all before it copied


@pytest.mark.covers("wire:heartbeats")
async def test_events_that_are_no_messages_are_passed_over_and_their_ids_are_not() -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"event: heartbeat\ndata: {}\n\nevent: message\ndata: 1\n\nid: a\nevent:ping\ndata: 2\n\n"
        yield b"data: 3\nevent:\n\nevent: Message\ndata: 4\n\ndata: 5\n\nevent: close\ndata: 6"

    found = [(event.data, event.id) async for event in events(stream())]
    assert found == [(b"1", None), (b"", b"a"), (b"3", None), (b"5", None)]


@pytest.mark.covers("wire:flood")
@pytest.mark.parametrize("line", [b":\n\n", b'data: {"method":"x"}\n\n'], ids=["comments", "events"])
async def test_a_flood_of_lines_is_read_slowly_and_leaves_others_their_turn(line: bytes) -> None:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield line * 20_000

    seen = 0

    async def read() -> None:
        nonlocal seen
        async for _ in event_payloads(flood()):
            seen += 1

    reading = asyncio.create_task(read())
    begun, worked, longest = time.monotonic(), time.process_time(), 0.0
    while time.monotonic() - begun < 0.5:
        before = time.process_time()
        await asyncio.sleep(0)
        longest = max(longest, time.process_time() - before)
        await asyncio.wait({reading}, timeout=0.01)
    reading.cancel()
    assert longest < 0.1
    assert time.process_time() - worked < 0.4
    assert seen < BURST_LINES


@pytest.mark.covers("exchange:white-space")
async def test_white_space_around_a_header_is_no_part_of_its_value() -> None:
    assert exchange((b"mcp-name", b"get_time \t")).header(b"mcp-name") == "get_time"


@pytest.mark.covers("exchange:reply-headers")
@pytest.mark.parametrize("character", ["\r\n", "\n", "\r", "\0", "\x1f", "\x7f"])
async def test_a_header_of_a_reply_that_would_end_early_is_not_sent(character: str) -> None:
    sent = list[bytes]()
    line: Any = SimpleNamespace(inside=False, blocked=False, keeps=True, write=sent.append, answered=lambda: None)
    replying = Exchange(Head("GET", b"/", []), line, b"")
    with pytest.raises(ValueError, match="malformed"):
        await replying.reply(200, b"", headers=[(b"one", b"whole"), (b"other", f"a{character}b: c".encode())])
    assert not sent
    await replying.reply(200, b"", headers=[(b"one", "a\tb ñ".encode()), (b"other", b"c")])
    assert "\r\none: a\tb ñ\r\nother: c\r\n\r\n".encode() in sent[0]
