"""Asking the supervisor: one JSON line there, one JSON line back, over `{run}/control.sock`."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from tausestack.errors import Unavailable

MAX_LINE = 1024 * 1024
TIMEOUT_SECONDS = 5.0


class ControlClient:
    """The gateway's connection to the supervisor: opened on first use, opened again when it broke."""

    def __init__(self, path: str | Path) -> None:
        """Take the path of the control socket."""
        self._path = str(path)
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def services(self) -> dict[str, Any]:
        """Return what `figures` says: each service's state and memory, and the supervisor's own."""
        return await self._ask({"op": "services"})

    async def keys(self, op: str, **more: Any) -> dict[str, Any]:
        """Have the supervisor do something about the stack's keys, and return their names, as `KeyDesk.keys` does."""
        return await self._ask({"op": op, **more})

    async def ensure(self, service: str, tenant: str | None = None) -> str:
        """Return the path of a service's socket, which is bound if it was not."""
        reply = await self._ask({"op": "ensure", "service": service, "tenant": tenant})
        return str(reply["socket"])

    async def identify(self, credential_hash: str) -> str | None:
        """Return the name of the service whose living process holds a credential, or None."""
        return (await self.identify_process(credential_hash))[0]

    async def identify_process(self, credential_hash: str) -> tuple[str | None, str | None]:
        """Return the service, and the tenant if it has one, whose living process holds a credential."""
        reply = await self._ask({"op": "identify", "credential_hash": credential_hash})
        return reply["service"], reply.get("tenant")

    async def restart(self, service: str, tenant: str | None = None) -> None:
        """Have a service's process end when its calls have; the next call starts another."""
        await self._ask({"op": "restart", "service": service, "tenant": tenant})

    async def stop(self, service: str, tenant: str) -> None:
        """Have a tenant's own process end, and its socket go."""
        await self._ask({"op": "stop", "service": service, "tenant": tenant})

    async def aclose(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self._lock:
            try:
                line = await self._exchange(json.dumps(request).encode() + b"\n")
            except (OSError, TimeoutError, EOFError) as error:
                raise Unavailable("the supervisor does not answer") from error
        return _reply(line)

    async def _exchange(self, line: bytes) -> bytes:
        """Send a line and return the answer; every operation may be sent twice, so a broken connection is retried."""
        if self._streams is not None:
            try:
                return await self._once(self._streams, line)
            except (OSError, EOFError):
                await self.aclose()
        self._streams = await asyncio.open_unix_connection(self._path, limit=MAX_LINE)
        return await self._once(self._streams, line)

    async def _once(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], line: bytes) -> bytes:
        reader, writer = streams
        answered = False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                writer.write(line)
                await writer.drain()
                reply = await reader.readuntil(b"\n")
            answered = True
        finally:
            if not answered:  # a late answer must not be taken for that to the next question
                await self.aclose()
        return reply


def ask(path: str | Path, request: dict[str, Any]) -> dict[str, Any]:
    """Return the supervisor's answer to one request, or raise `Unavailable`."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(MAX_LINE)
    except OSError as error:
        raise Unavailable("the supervisor does not answer") from error
    if not line.endswith(b"\n"):
        raise Unavailable("the supervisor does not answer")
    return _reply(line)


def _reply(line: bytes) -> dict[str, Any]:
    reply: dict[str, Any] = json.loads(line)
    if "error" in reply:
        raise Unavailable(str(reply["error"]))
    return reply
