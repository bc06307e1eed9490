"""Where a pool connects beyond this machine: an origin on the network."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl

from tausestack.wire.connection import Connection
from tausestack.wire.place import OnIdle
from tausestack.wire.reply import NotSent
from tausestack_runtime.egress import Egress, Origin
from tausestack_runtime.gateway.upstreams.wire_tcp import TcpConnection, TlsConnection

CONNECT_SECONDS = 10.0
"""What resolving a name, connecting to one of its addresses and agreeing on keys may take together."""


class OriginPlace:
    """An origin, reached directly: no proxy of the environment's, and no redirect is followed."""

    def __init__(self, origin: Origin, egress: Egress, tls: ssl.SSLContext | None = None) -> None:
        """`tls` stands in for the process's own context."""
        self._origin = origin
        self._egress = egress
        self._tls = tls
        self.host: bytes | None = origin.authority.encode()

    async def connect(self, on_idle: OnIdle, deadline: float) -> Connection:
        """Connect to the first address that takes a connection; raises `Forbidden` where none may be reached."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + CONNECT_SECONDS)):
                addresses = await self._egress.addresses(self._origin)
                context = await self._context()
                for address in addresses[:-1]:
                    try:
                        return await self._connected(address, context, on_idle)
                    except ConnectionError:
                        continue
                return await self._connected(addresses[-1], context, on_idle)
        except TimeoutError as error:
            raise NotSent(f"{self._origin} can't be connected to in time") from error
        except ssl.SSLCertVerificationError as error:
            raise NotSent(f"the certificate of {self._origin} is not good: {error.verify_message}") from error
        except socket.gaierror as error:
            raise NotSent(f"{self._origin.host} has no address") from error
        except OSError as error:
            raise NotSent(f"{self._origin} takes no connections") from error

    async def _connected(self, address: str, context: ssl.SSLContext | None, on_idle: OnIdle) -> Connection:
        loop = asyncio.get_running_loop()
        raw = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(raw, (address, self._origin.port))
            kind = TcpConnection if context is None else TlsConnection
            name = None if context is None else self._origin.host
            made = functools.partial(kind, raw, on_idle)
            _, connection = await loop.create_connection(made, sock=raw, ssl=context, server_hostname=name)
        except BaseException:
            raw.close()
            raise
        return connection

    async def _context(self) -> ssl.SSLContext | None:
        if self._origin.scheme == "http":
            return None
        # Reading the machine's authorities takes some 40 ms the first time: not on the loop.
        return self._tls or await asyncio.to_thread(tls_context)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the process's one TLS context: the machine's authorities, names checked, HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
