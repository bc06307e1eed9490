"""Reading requests: what the parser says, said to a connection."""

from __future__ import annotations

from typing import Protocol

import httptools

from tausestack_runtime.gateway.http.head import Head

SPOKEN = frozenset({"1.0", "1.1"})

MOST_HEADERS = 200
"""How many a request may have: browsers and proxies send some dozens, and each is work."""

SMALL_PIECE = 64
MOST_SMALL_PIECES = 16_384
"""How many pieces of fewer bytes a body may come in: a chunk of one byte costs as much as one of thousands."""


class Reading(Protocol):
    """What takes requests piece by piece."""

    def begun(self, head: Head) -> None:
        """Take a head; what it raises ends the reading."""
        ...

    def arrived(self, piece: bytes) -> None:
        """Take a piece of the body."""
        ...

    def completed(self) -> None:
        """Take the request's end."""
        ...


class UnknownVersion(Exception):
    """The request is in a version of HTTP that is not spoken here."""


class TooManyHeaders(Exception):
    """The request has more headers than `MOST_HEADERS`."""


class TooManyPieces(Exception):
    """The body comes in more small pieces than `MOST_SMALL_PIECES`."""


class Reader:
    """A parser of one connection's requests, and its callbacks."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        # httptools names the type of its callback object loosely: any object with some of the callbacks will do.
        self._parser = httptools.HttpRequestParser(self)
        # What a caller sends after a request that is to be its last changes nothing of the reply to that.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_body = False
        self._small = 0
        self.between = True
        """Whether what comes next is the first of a request."""

    def feed(self, data: bytes) -> None:
        """Read some bytes, or raise `httptools.HttpParserError`."""
        self.between = False
        self._parser.feed_data(data)

    # httptools callbacks

    def on_message_begin(self) -> None:
        self.between = False
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # a trailer is no header: it would pass by whoever looked at the head before
            self._headers.append((name.lower(), value))
            if len(self._headers) > MOST_HEADERS:
                raise TooManyHeaders

    def on_headers_complete(self) -> None:
        self._in_body, self._small = True, 0
        parser = self._parser
        version = parser.get_http_version()
        if version not in SPOKEN:
            raise UnknownVersion  # which stops the parser
        keeps = version != "1.0" and parser.should_keep_alive()
        self._reading.begun(Head(parser.get_method().decode("ascii"), self._url, self._headers, keeps=keeps))

    def on_body(self, body: bytes) -> None:
        if len(body) < SMALL_PIECE:
            self._small += 1
            if self._small > MOST_SMALL_PIECES:
                raise TooManyPieces
        self._reading.arrived(body)

    def on_message_complete(self) -> None:
        self._in_body, self.between = False, True
        self._reading.completed()
