"""The door's guard: a page of another site, or a name that only pretends to be this host, gets nothing."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from tausestack.errors import Forbidden, InvalidRequest, TauseError
from tausestack_runtime.gateway.http.head import Head

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]*)\]|([A-Za-z0-9._-]*))(?::[0-9]*)?")

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

ORIGIN = "origin"
"""What no scope is, and a page of another site lacks."""
ONCE = frozenset({
    b"authorization", b"host", b"idempotency-key", b"origin", b"tausestack-approval", b"transfer-encoding",
})  # fmt: skip
"""Headers that say who asks for what, and where it ends, and so may come but once."""
PLAIN = frozenset({b"", b"identity"})
"""What `Content-Encoding` says of a body that is not encoded."""


class Guard:
    """Checks `Host` and `Origin`; on a loopback address only loopback names are this host."""

    def __init__(self, host: str, public_url: str | None = None) -> None:
        """Take the address that the gateway listens on, and the one that clients reach it by."""
        also = {urlsplit(public_url).hostname or ""} if public_url else set[str]()
        self._names = frozenset(name.encode() for name in LOOPBACK | also) if host in LOOPBACK else None

    def refusal(self, head: Head) -> TauseError | None:
        """Return why a request with this head is refused, or None."""
        host = head.headers.get(b"host", b"")
        if self._names is not None and _name(host) not in self._names:
            return _Misdirected(
                "This host goes by another name: DNS rebinding is refused. Use the address that the gateway listens "
                "on, or have its operator set TAUSESTACK_PUBLIC_URL to the one that you use"
            )
        if head.authority is not None and head.authority.lower() != host.lower():
            return _Misdirected("The target of this request is another host than its Host header names")
        origin = head.text(b"origin")
        if origin is not None and _origin_host(origin) != host.decode("latin-1"):
            return Forbidden("Pages of other sites may not call this host", scope=ORIGIN)
        repeated = head.repeated & ONCE
        if repeated:
            # Which of them counts would depend on whoever stands in front of this host.
            return InvalidRequest(f"The header {min(repeated).decode()} is repeated")
        if (head.length or head.chunked) and head.headers.get(b"content-encoding", b"").lower() not in PLAIN:
            return _Encoded("A body is taken as it is, and in no Content-Encoding")
        if head.chunked and head.headers[b"transfer-encoding"].lower() != b"chunked":
            return _Encoded("A body is taken as it is, and in no Transfer-Encoding but chunked")
        return None


class _Encoded(InvalidRequest):
    """The body is compressed, or the like."""

    code, status, title = "unsupported_encoding", 415, "Unsupported content encoding"


class _Misdirected(InvalidRequest):
    """The request is for somebody else."""

    code, status, title = "misdirected", 421, "Misdirected request"


def _name(host: bytes) -> bytes:
    """Return a host's name without its port; an empty one where it is no host and port."""
    found = _HOST.fullmatch(host)
    return b"" if found is None else (found[1] or found[2]).lower()


def _origin_host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
