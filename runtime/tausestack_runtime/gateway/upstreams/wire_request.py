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


@functools.lru_cache(1024)
def _checked(name: bytes) -> bytes:
    """Return a header's name in lower case; few are ever used, and each is looked at once."""
    if _NAME.fullmatch(name) is None:
        raise ValueError("a header of a request is malformed")
    lowered = name.lower()
    if lowered in _OWN:
        raise ValueError(f"the header {lowered.decode()} is set by the pool")
    return lowered


def request_bytes(
    method: str, target: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, host: bytes | None = None
) -> bytes:
    """Return a request as it goes over the wire.

    `target` is an origin-form path in ASCII. `host` is the only `Host` that will do; None: the headers' own, or else
    `localhost`. Raises `ValueError` for what could end a line, a header or the request early, and for headers that
    frame the message.
    """
    if _METHOD.fullmatch(method) is None or _TARGET.fullmatch(target) is None:
        raise ValueError("the method or the target of a request is malformed")
    parts = [method.encode(), b" ", target.encode(), b" HTTP/1.1\r\n"]
    named = False
    if _VALUE.fullmatch(b"\t".join([value for _, value in headers])) is None:
        raise ValueError("a header of a request is malformed")
    for name, value in headers:
        if _checked(name) == b"host":
            if host is not None:
                raise ValueError("the header host is set by the pool")
            named = True
        parts += (name, b": ", value, b"\r\n")
    if not named:
        parts += (b"host: ", host or b"localhost", b"\r\n")
    if body or method not in {"GET", "HEAD", "DELETE"}:
        parts.append(b"content-length: %d\r\n" % len(body))
    parts += (b"\r\n", body)
    return b"".join(parts)
