"""What a request to a remote server bears."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

from tausestack.contract import MCP_VERSION_META
from tausestack.errors import InvalidArguments, InvalidRequest
from tausestack.raw import as_object, object_at
from tausestack.wire.request import request_bytes
from tausestack_runtime.adapters.launches import Remote
from tausestack_runtime.egress import read_url
from tausestack_runtime.gateway.mirrors import encoded

Headers = list[tuple[bytes, bytes]]

_SESSION = re.compile(rb"[\x21-\x7e]{1,1024}")
_OURS = frozenset(
    {
        "accept", "content-type", "content-length", "transfer-encoding", "connection", "host", "expect", "te",
        "trailer", "upgrade", "last-event-id", "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name",
    }
)  # fmt: skip
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
BOTH = (b"accept", b"application/json, text/event-stream")
IDENTITY = (b"accept-encoding", b"identity")
"""Who says nothing of it may be answered in any compression."""
STREAM = (b"accept", b"text/event-stream")


class Address:
    """A server's URL with the session that is open there."""

    def __init__(self, remote: Remote) -> None:
        """Raises `InvalidRequest` for a URL or a header that can't be used."""
        self.origin, self.target = read_url(remote.url)
        self.session: bytes | None = None
        self._version: bytes | None = None
        ours = sorted(name for name in remote.headers if name.lower() in _OURS)
        if ours:
            raise InvalidRequest(f"the header {ours[0][:80]} is not yours to set")
        try:
            self._own = [(name.encode("ascii"), value.encode("latin-1")) for name, value in remote.headers.items()]
            request_bytes("POST", self.target, self._own, b"", self.origin.authority.encode())
        except ValueError as error:
            raise InvalidRequest("a header has characters that none can have") from error

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.origin}{self.target}"

    def moved(self, location: str) -> bool:
        """Follow the server to another place of its own origin, as from `/mcp` to `/mcp/`; False where it is none.

        Nobody else is sent what is meant for this server: credentials among it.
        """
        try:
            origin, target = read_url(urljoin(self.url, location))
        except (InvalidArguments, ValueError):
            return False
        if origin != self.origin or target == self.target:
            return False
        self.target = target
        return True

    def opened(self, session: bytes | None, result: dict[str, Any]) -> None:
        """Take what a server said to `initialize`."""
        if session is not None and _SESSION.fullmatch(session) is not None:
            self.session = session
        self._version = str(result.get("protocolVersion", ""))[:40].encode("ascii", "replace")

    def headers(self, *more: tuple[bytes, bytes]) -> Headers:
        """Return the headers of a request of the session."""
        found: Headers = [*self._own, IDENTITY, *more]
        if self.session is not None:
            found.append((b"mcp-session-id", self.session))
        if self._version is not None:
            found.append((b"mcp-protocol-version", self._version))
        return found

    def of(self, message: dict[str, Any]) -> Headers:
        """Return the headers of a message that is posted."""
        posted = (BOTH, (b"content-type", b"application/json"))
        params = as_object(message.get("params")) or {}
        version = object_at(params, "_meta").get(MCP_VERSION_META)
        if not isinstance(version, str):
            return self.headers(*posted)
        method = str(message.get("method"))
        found: Headers = [*self._own, IDENTITY, *posted, (b"mcp-protocol-version", version.encode())]
        found.append((b"mcp-method", method.encode()))
        if method in _NAMED:
            found.append((b"mcp-name", encoded(str(params.get(_NAMED[method])))))
        return found
