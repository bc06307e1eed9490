"""Lines from a process that may be hostile."""

from __future__ import annotations

import asyncio
import time

import pytest

from tausestack_runtime.adapters.stdio.framing import LineTooLong, answered, lines, parse

pytestmark = pytest.mark.anyio


def fed(*chunks: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return reader


@pytest.mark.covers("adapters:framing")
async def test_lines_come_whole_however_they_are_cut() -> None:
    whole = b'{"a": 1}\n\n{"b": "\xc3\xb1"}\nrest without an end'
    for size in (1, 2, 7, 1000):
        cut = [whole[at : at + size] for at in range(0, len(whole), size)]
        reader = asyncio.StreamReader()

        async def feed(reader: asyncio.StreamReader = reader, cut: list[bytes] = cut) -> None:
            for chunk in cut:
                reader.feed_data(chunk)
                await asyncio.sleep(0)
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        assert [line async for line in lines(reader)] == [b'{"a": 1}', b"", '{"b": "ñ"}'.encode()]
        await feeding


@pytest.mark.covers("adapters:line-cap")
async def test_a_line_over_the_limit_is_refused_with_and_without_an_end() -> None:
    assert [line async for line in lines(fed(b"x" * 100 + b"\n"), limit=100)] == [b"x" * 100]
    for hostile in (b"x" * 101 + b"\n", b"x" * 101):
        with pytest.raises(LineTooLong):
            await anext(lines(fed(hostile), limit=100))


@pytest.mark.covers("adapters:framing-linear")
async def test_a_long_line_in_small_chunks_takes_time_in_proportion() -> None:
    async def spent(size: int) -> float:
        reader = asyncio.StreamReader()
        began = time.process_time()

        async def feed() -> None:
            for _ in range(size // 1024):
                reader.feed_data(b"x" * 1024)
                await asyncio.sleep(0)
            reader.feed_data(b"\n")
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        assert [len(line) async for line in lines(reader)] == [size]
        await feeding
        return time.process_time() - began

    small, large = min([await spent(1 << 19) for _ in range(3)]), await spent(1 << 22)
    assert large < small * 8 * 4  # eight times the bytes; quadratic work would be sixty-four times


def test_what_is_no_object_is_none() -> None:
    assert parse(b'{"a": 1}') == {"a": 1}
    for other in (b"", b"nonsense", b"[1]", b"null", b'{"a":', b"[" * 100_000):
        assert parse(other) is None


@pytest.mark.covers("adapters:unreadable")
@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b'{"jsonrpc": "2.0", "id": 7, "result": {"ratio": NaN}}', 7),
        (b'{"jsonrpc":"2.0","id":7,"error":{"data":NaN}}', 7),
        (b'{"result":{"ratio":NaN},"jsonrpc":"2.0","id":7}', 7),
        (b'{"result":{"text":"\xed\xa0",NaN},"jsonrpc":"2.0","id":7} \r', 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"n":NaN}}', None),
        (b'{"result":{"ratio":NaN,"jsonrpc":"2.0","id":7}}', None),
        (b'{"result":{"ratio":NaN},"id":"seven"}', None),
        (b"a line of a log", None),
    ],
)
async def test_a_line_that_cannot_be_read_tells_what_it_answers_at_its_begin_or_its_end(
    line: bytes, number: int | None
) -> None:
    assert parse(line) is None
    assert answered(line) == number
