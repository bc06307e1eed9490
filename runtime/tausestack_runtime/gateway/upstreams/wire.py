"""Pooled HTTP/1.1 over a Unix socket, TCP or TLS: the hop to a server."""

from __future__ import annotations

import ssl

from tausestack.wire import MAX_BODY_BYTES, Broken, NotSent, Reply, TimedOut, TooLarge, UnixPlace, WireError
from tausestack.wire import Pool as PoolAt
from tausestack.wire.pool import IDLE_SECONDS
from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire_place import OriginPlace

__all__ = ["MAX_BODY_BYTES", "Broken", "NotSent", "Pool", "Reply", "TimedOut", "TooLarge", "WireError"]

ORIGIN_IDLE_SECONDS = 4.0
"""Less than the 5 s after which most HTTP servers close a connection that nobody uses."""


class Pool(PoolAt):
    """Connections to one server on this machine, or anywhere that we may connect to."""

    def __init__(
        self,
        where: str | Origin,
        *,
        max_connections: int = 64,
        max_idle_seconds: float | None = None,
        egress: Egress | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`where` is a Unix socket's path, or an origin, which `egress` has to let pass: public addresses by default.

        `tls` stands in for the process's own context.
        """
        own = IDLE_SECONDS if isinstance(where, str) else ORIGIN_IDLE_SECONDS
        super().__init__(
            UnixPlace(where) if isinstance(where, str) else OriginPlace(where, egress or Egress(), tls),
            max_connections=max_connections,
            max_idle_seconds=own if max_idle_seconds is None else max_idle_seconds,
        )
