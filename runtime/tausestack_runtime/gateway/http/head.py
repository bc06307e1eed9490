"""The head of an HTTP/1.1 request: read once, with all that it alone decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

import httptools

T = TypeVar("T")

HEAVY = 32 * 1024
"""What has more bytes is work to read, and waits for its tenant's turn."""


class Head:
    """A request's head as it came; nothing in it changes, so that one that comes again is not read again."""

    __slots__ = (
        "_derived",
        "authority",
        "chunked",
        "expects",
        "headers",
        "keeps",
        "length",
        "method",
        "path",
        "query",
        "raw_headers",
        "raw_path",
    )

    def __init__(self, method: str, url: bytes, headers: list[tuple[bytes, bytes]], *, keeps: bool = True) -> None:
        """`headers` have lower-case names; `keeps` is whether the connection may stay after the reply."""
        parsed = httptools.parse_url(url)
        self.method = method
        self.raw_path: bytes = parsed.path or b"/"
        self.authority: bytes | None = _authority(parsed.host, parsed.port) if parsed.host else None
        """Whom the request is for, where its target says so itself; `Host` then counts for nothing."""
        path = self.raw_path.decode("ascii")
        self.path = unquote(path) if "%" in path else path
        self.query: bytes = parsed.query or b""
        self.raw_headers = headers
        # The parser leaves the white space at a value's end, which is not of the value.
        self.headers = {name: value.rstrip(b" \t") for name, value in headers}
        """By lower-case names; the last one where it is repeated."""
        self.keeps = keeps
        declared = self.headers.get(b"content-length", b"")
        self.length = int(declared) if declared.isdigit() else None
        """How many bytes the body has, where that is said."""
        self.chunked = b"transfer-encoding" in self.headers
        self.expects = self.headers.get(b"expect", b"").lower() == b"100-continue"
        self._derived: dict[Callable[[Head], Any], Any] = {}

    @property
    def plain(self) -> bool:
        """Whether it alone says where its request ends, and nothing has to be said or done before or after that."""
        if (self.length or 0) > HEAVY:
            return False  # its body waits for its tenant's turn
        return self.keeps and not (self.chunked or self.expects or b"upgrade" in self.headers)

    @property
    def parts(self) -> list[str]:
        """The path's names, the first of them empty; a slash that is escaped belongs to the name that it stands in."""
        return [unquote(part) for part in self.raw_path.decode("ascii").split("/")]

    @property
    def repeated(self) -> frozenset[bytes]:
        """The names of the headers that came more than once."""
        if len(self.headers) == len(self.raw_headers):
            return frozenset()
        counts = Counter(name for name, _ in self.raw_headers)
        return frozenset(name for name, count in counts.items() if count > 1)

    def text(self, name: bytes) -> str | None:
        """Return a header's value by its lower-case name; the last one where it is repeated."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def once(self, derive: Callable[[Head], T]) -> T:
        """Return what a function makes of this head, which it is asked once."""
        try:
            return self._derived[derive]
        except KeyError:
            found = self._derived[derive] = derive(self)
            return found


def _authority(host: bytes, port: int | None) -> bytes:
    named = b"[%b]" % host if b":" in host else host
    return named if port is None else b"%b:%d" % (named, port)
