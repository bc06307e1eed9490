"""An HTTP server of a test's own, in a task or in a thread, that ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import uvicorn

GRACE_SECONDS = 1.0
"""How long requests under way may take to end."""


class Loopback(uvicorn.Server):
    """uvicorn's own looks ten times a second whether it should end, and sleeps a tenth of a second before it does."""

    _loop: asyncio.AbstractEventLoop | None = None
    _told: asyncio.Event

    def end(self) -> None:
        """Tell it to end; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        """Serve until it is told to end."""
        self._told, self._loop = asyncio.Event(), asyncio.get_running_loop()
        if not await self.on_tick(0):
            await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Hang up on those who ask nothing, wait for the others, and hang up on those who take too long."""
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, late = await asyncio.wait(self.server_state.tasks, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=GRACE_SECONDS)
        for connection in list(self.server_state.connections):
            connection.shutdown()
