"""Connections to a server on the network, where a broken connection says less than on a Unix socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from tausestack.wire.connection import Connection

# `tcpi_bytes_acked` of Linux's `struct tcp_info`: how much of what we ever sent the other machine has taken.
_ACKED_AT, _ACKED_END = 120, 128


class TcpConnection(Connection):
    """A TCP connection.

    A request on a used connection was not sent where the server has ended the connection while nothing of the request
    had come to its machine: its end says how much had. A reset doesn't: some of the request may have been read before.
    """

    def __init__(self, raw: socket.socket, on_idle: Callable[[Connection], None]) -> None:
        super().__init__(raw, on_idle)
        self._sent = _acked(raw)
        self._before = 0
        """What had been sent before the last request."""

    def _write(self, request: bytes) -> int:
        self._before = self._sent
        self._sent += len(request)
        return self._raw.send(request)

    def _unread_at_end(self) -> bool:
        return self.reused and _acked(self._raw) <= self._before

    def _unread_by(self, error: Exception | None) -> bool:
        return False

    def _may_end_replies(self) -> bool:
        return True


class TlsConnection(Connection):
    """A TLS connection: the transport writes, since nothing may pass it by, and once it has, nothing is certain."""

    def _write(self, request: bytes) -> int:
        assert self._transport is not None
        if self._transport.is_closing():
            raise BrokenPipeError("the server has closed the connection")
        self._transport.write(request)
        return len(request)

    def _unread_at_end(self) -> bool:
        return False

    def _unread_by(self, error: Exception | None) -> bool:
        return False

    def _may_end_replies(self) -> bool:
        return True


def _acked(raw: socket.socket) -> int:
    told = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_END)
    return int(struct.unpack("=Q", told[_ACKED_AT:_ACKED_END])[0])
