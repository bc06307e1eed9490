"""Fetching a JSON document from where somebody else says that it is: through egress, small, and without redirects."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

from tausestack.errors import Forbidden, InvalidRequest, Unavailable
from tausestack.raw import as_object, number_of
from tausestack_runtime.egress import Egress, read_url
from tausestack_runtime.gateway.nesting import loads_strictly
from tausestack_runtime.gateway.upstreams.wire import Pool, WireError

SECONDS = 5.0


@dataclass(frozen=True)
class Document:
    """A document, and for how many seconds its origin lets it be kept."""

    value: dict[str, Any]
    max_age: int


class Fetching:
    """Fetches documents, some at once."""

    def __init__(self, egress: Egress, tls: ssl.SSLContext | None = None, at_once: int = 8) -> None:
        """`tls` stands in for the process's own context."""
        self._egress = egress
        self._tls = tls
        self._places = asyncio.Semaphore(at_once)

    async def get(self, url: str, most: int) -> Document:
        """Return the JSON object at a URL, of `most` bytes at most, or raise `Unavailable`."""
        try:
            origin, target = read_url(url)
            async with self._places:
                pool = Pool(origin, egress=self._egress, tls=self._tls, max_connections=1)
                try:
                    return await self._got(pool, target, most)
                finally:
                    await pool.aclose()
        except (WireError, Forbidden, InvalidRequest, ValueError) as error:
            raise Unavailable("The document can't be had") from error

    async def _got(self, pool: Pool, target: str, most: int) -> Document:
        deadline = asyncio.get_running_loop().time() + SECONDS
        accept = [(b"accept", b"application/json"), (b"user-agent", b"tausestack")]
        reply = await pool.request("GET", target, accept, b"", deadline=deadline, max_body=most)
        try:
            kind = reply.headers.get(b"content-type", b"").partition(b";")[0].strip()
            if reply.status != 200 or not (kind == b"application/json" or kind.endswith(b"+json")):
                raise Unavailable("The document can't be had")
            value = as_object(loads_strictly(await reply.read()))
        finally:
            await reply.aclose()
        if value is None:
            raise Unavailable("The document is no object")
        return Document(value, _max_age(reply.headers.get(b"cache-control", b"")))


def _max_age(said: bytes) -> int:
    for part in said.decode("latin-1").lower().split(","):
        name, _, value = part.strip().partition("=")
        if name in {"no-store", "no-cache"}:
            return 0
        if name == "max-age" and (seconds := number_of(value)) is not None:
            return min(seconds, 86_400)
    return 3600
