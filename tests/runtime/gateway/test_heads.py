"""A head that comes again is not read again, and means what it meant the first time."""

from __future__ import annotations

import pytest

from tausestack.wire.heads import MOST, Heads
from tausestack_runtime.gateway.http.head import Head
from tausestack_runtime.gateway.http.reader import Reader

PLAIN = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


class Told:
    """What a reader says of some bytes."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.bodies: list[bytes] = []
        self.ends = 0

    def begun(self, head: Head) -> None:
        self.heads.append(head)

    def arrived(self, piece: bytes) -> None:
        self.bodies.append(piece)

    def completed(self) -> None:
        self.ends += 1


def read(data: bytes) -> tuple[Reader, Told]:
    told = Told()
    reader = Reader(told)
    reader.feed(data)
    return reader, told


def kept(written: bytes, data: bytes | None = None) -> bool:
    """Whether a head is kept under some bytes, where it is what was read of these or of others."""
    _, told = read(data or written)
    heads = Heads[Head]()
    head = told.heads[0]
    if head.plain:
        heads.keep(written, len(head.raw_headers), head)
    return heads.known(written) is head


@pytest.mark.covers("doors:heads")
def test_a_head_that_is_all_of_its_bytes_is_known_again_by_all_of_them() -> None:
    heads = Heads[Head]()
    _, told = read(PLAIN + b"hi")
    heads.keep(PLAIN, 2, told.heads[0])
    known = heads.known(PLAIN)
    assert known is not None
    assert (known.path, known.length, known.headers[b"host"]) == ("/a", 2, b"x")
    assert heads.known(PLAIN.replace(b"x", b"y")) is None


@pytest.mark.covers("doors:heads")
@pytest.mark.parametrize(
    "head",
    [
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
        b"POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n",
        b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
    ],
)
def test_a_head_that_says_more_is_read_each_time(head: bytes) -> None:
    assert not kept(head)


@pytest.mark.covers("attacks:paths")
@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/tenants/acme%2fmcp", ["tenants", "acme/mcp"]),
        (b"/a%2Fb%20c/%C3%B1", ["a/b c", "ñ"]),
        (b"/a%252Fb/", ["a%2Fb", ""]),
        (b"/%2e%2e/a", ["..", "a"]),
        (b"/100%", ["100%"]),
    ],
)
def test_a_slash_that_is_escaped_parts_nothing(target: bytes, parts: list[str]) -> None:
    _, told = read(PLAIN.replace(b"/a", target) + b"hi")
    assert told.heads[0].parts == ["", *parts]


@pytest.mark.covers("doors:heads")
@pytest.mark.parametrize("written", [PLAIN[:-2], PLAIN[:3], b"\r\n\r\n", PLAIN + PLAIN, b""])
def test_a_head_is_not_known_by_other_bytes_than_its_own(written: bytes) -> None:
    assert not kept(written, PLAIN)


@pytest.mark.covers("doors:heads")
def test_few_heads_are_kept_and_the_oldest_goes() -> None:
    heads = Heads[Head]()
    written = [PLAIN.replace(b"/a", b"/%d" % number) for number in range(MOST + 1)]
    for one in written:
        heads.keep(one, 2, read(one)[1].heads[0])
    assert [heads.known(one) is not None for one in written] == [False, *[True] * MOST]


@pytest.mark.covers("doors:heads")
@pytest.mark.parametrize(("data", "between"), [(b"", True), (b"P", False), (PLAIN, False), (PLAIN + b"hi", True)])
def test_a_reader_knows_whether_a_request_has_begun(data: bytes, between: bool) -> None:
    reader, told = read(PLAIN + b"hi" + data)
    assert told.ends == 1 + data.endswith(b"hi")
    assert reader.between is between
