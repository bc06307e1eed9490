"""The link to a server that is a process here: a message a line, both ways."""

from __future__ import annotations

import asyncio
from typing import Any

from tausestack.errors import Unavailable, UpstreamError
from tausestack_runtime.adapters.bounds import Pace
from tausestack_runtime.adapters.folders import MAX_BYTES, MAX_FILES, overfull
from tausestack_runtime.adapters.session.peer import Broken, Receiver
from tausestack_runtime.adapters.stdio.framing import LineTooLong, answered, encode, lines, parse, too_deep
from tausestack_runtime.adapters.stdio.process import Child

MAX_GARBAGE_LINES = 100
MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""How much a server may leave unread before it gets no more."""

READ_SECONDS = 30.0
WATCH_SECONDS = 2.0
"""How often a server's folder is measured."""


class StdioLink:
    """A child's pipes."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._receiver: Receiver

    @property
    def pid(self) -> int | None:
        """The process that stands for the whole sandbox."""
        return self._child.pid

    @property
    def url(self) -> str | None:
        """None: it runs here."""
        return None

    @property
    def last_words(self) -> str:
        """What the process said last on its stderr; whole once it was stopped."""
        return str(self._child.words)

    def attach(self, receiver: Receiver) -> None:
        """Say who takes what the server says."""
        self._receiver = receiver

    async def run(self) -> str:
        """Read until the process ends or is no server any more, and return why."""
        tasks = {asyncio.create_task(self._read()), asyncio.create_task(self._watch())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _watch(self) -> str:
        folder = self._child.folder
        if folder is None:
            return await asyncio.get_running_loop().create_future()  # there is nothing to watch
        while not await asyncio.to_thread(overfull, folder):  # noqa: ASYNC110 nothing tells of a folder's growth
            await asyncio.sleep(WATCH_SECONDS)
        return f"it wrote more than {MAX_FILES} files or {MAX_BYTES >> 20} MiB into its folder"

    async def _read(self) -> str:
        garbage, pace = 0, Pace()
        try:
            async for line in lines(self._child.stdout):
                message = parse(line)
                if message is None:
                    if too_deep(line):
                        return "it wrote JSON that is nested too deeply"
                    if (number := answered(line)) is not None:
                        self._receiver.lost(
                            number, UpstreamError("The server answered with something that is not JSON")
                        )
                    garbage += 1 if line.strip() else 0
                    if garbage > MAX_GARBAGE_LINES:
                        return "it writes what is not JSON-RPC"
                    await pace.spend()
                    continue
                garbage = 0
                if "method" in message:
                    await pace.spend()
                await self._receiver.received(message, None)
        except LineTooLong:
            return "it wrote a line of more than 8 MiB"
        return "it ended"

    async def send(self, message: dict[str, Any]) -> None:
        """Write one line; raises `Broken` where nobody reads any more."""
        pipe = self._child.stdin
        if pipe.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            raise Unavailable("the server does not read what it is sent")
        try:
            pipe.write(encode(message))
            async with asyncio.timeout(READ_SECONDS):
                await pipe.drain()
        except TimeoutError as error:
            raise Broken(f"the server has read nothing for {READ_SECONDS:.0f} s") from error
        except (BrokenPipeError, ConnectionResetError, RuntimeError) as error:
            raise Broken("the server does not read any more") from error

    def done(self, number: int) -> None:
        """Do nothing: a line once written has no stream to close."""

    async def stop(self) -> str:
        """End the process and everything that it started."""
        return f"exit code {await self._child.stop()}"

    @property
    def killed(self) -> bool:
        """Whether somebody killed the process; known once it was stopped."""
        return self._child.killed
