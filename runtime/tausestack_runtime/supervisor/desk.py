"""The control socket: answers one JSON line with one JSON line."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from tausestack.errors import TauseError
from tausestack_runtime.supervisor.loop import Loop

MAX_REQUEST_BYTES = 65536

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class ControlDesk:
    """Serves the control socket; an answer is made at once, on the supervisor's own thread."""

    def __init__(self, loop: Loop, listener: socket.socket, answer: Answer) -> None:
        self._loop = loop
        self._listener = listener
        self._answer = answer
        self._waiting: dict[socket.socket, bytearray] = {}
        loop.watch(listener, self._accept)

    def close(self) -> None:
        """Close the socket and every connection."""
        self._loop.unwatch(self._listener)
        self._listener.close()
        for connection in list(self._waiting):
            self._drop(connection)

    def _accept(self) -> None:
        try:
            connection, _address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        self._waiting[connection] = bytearray()
        self._loop.watch(connection, lambda: self._read(connection))

    def _read(self, connection: socket.socket) -> None:
        received = self._waiting[connection]
        try:
            chunk = connection.recv(MAX_REQUEST_BYTES)
            received += chunk
            while (end := received.find(b"\n")) >= 0:
                line = bytes(received[:end])
                del received[: end + 1]
                connection.sendall(json.dumps(self._reply(line)).encode() + b"\n")
        except OSError:  # gone, or it reads no answers: either way nobody waits for one
            chunk = b""
        if not chunk or len(received) > MAX_REQUEST_BYTES:
            self._drop(connection)

    def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request: Any = json.loads(line)
            if not isinstance(request, dict):
                return {"error": "a request is one JSON object a line"}
            return self._answer(request)  # pyright: ignore[reportUnknownArgumentType] raw JSON
        except ValueError:
            return {"error": "a request is one JSON object a line"}
        except TauseError as error:
            return {"error": error.message, "code": error.code}

    def _drop(self, connection: socket.socket) -> None:
        self._loop.unwatch(connection)
        self._waiting.pop(connection, None)
        connection.close()
