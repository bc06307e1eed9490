"""Writing an HTTP/1.1 request."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

_METHOD = re.compile(r"[A-Z]+")
_TARGET = re.compile(r"/[!-~]*")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# The framing and the connection are the pool's own: two opinions about a body's length are how requests get smuggled.
_OWN = frozenset({b"connection", b"content-length", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
_BODILESS = frozenset({"GET", "HEAD", "DELETE"})

Headers = Sequence[tuple[bytes, bytes]]


@functools.lru_cache(1024)
def _checked(name: bytes) -> bytes:
    """Return a header's name in lower case; few are ever used, and each is looked at once."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("a header of a request is malformed")
    lowered = name.lower()
    if lowered in _OWN:
        raise ValueError(f"the header {lowered.decode()} is set by the pool")
    return lowered


def request_bytes(method: str, target: str, headers: Headers, body: bytes, host: bytes | None = None) -> bytes:
    """Return a request as it goes over the wire; arguments and errors are those of `head_bytes`."""
    head = head_bytes(method, target, headers, host)
    return head + b"\r\n" if not body and method in _BODILESS else framed(head, body)


def head_bytes(method: str, target: str, headers: Headers, host: bytes | None = None) -> bytes:
    """Return the first line and the headers of a request, without what frames its body.

    More `header_lines` may follow it, and `framed` makes a request of it: what many requests have in common is checked
    and put together once. `target` is an origin-form path in ASCII. `host` is the only `Host` that will do; None: the
    headers' own, or else `localhost`. Raises `ValueError` for what could end a line, a header or the request early, and
    for headers that frame the message.
    """
    if _METHOD.fullmatch(method) is None or _TARGET.fullmatch(target) is None:
        raise ValueError("the method or the target of a request is malformed")
    named = b"host" in _checked_names(headers)
    if named and host is not None:
        raise ValueError("the header host is set by the pool")
    own = b"" if named else b"host: %b\r\n" % (host or b"localhost")
    return b"%b %b HTTP/1.1\r\n%b%b" % (method.encode(), target.encode(), _lines(headers), own)


def header_lines(headers: Headers) -> bytes:
    """Return headers as they go over the wire, or raise `ValueError` as `head_bytes` does."""
    _checked_names(headers)
    return _lines(headers)


def _checked_names(headers: Headers) -> set[bytes]:
    """Return the names of headers, in lower case, or raise `ValueError` where one or its value is malformed."""
    if _VALUE.fullmatch(b"\t".join([value for _, value in headers])) is None:
        raise ValueError("a header of a request is malformed")
    return {_checked(name) for name, _ in headers}


def _lines(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def framed(head: bytes, body: bytes) -> bytes:
    """Return a request of a head and a body."""
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
