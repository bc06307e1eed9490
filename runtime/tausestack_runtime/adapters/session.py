"""A session with one third-party server: owned by one task, spoken to by many callers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tausestack.contract import VERSION
from tausestack.errors import Unavailable, UpstreamError
from tausestack.raw import as_array, as_object
from tausestack_runtime.adapters.framing import LineTooLong, encode, lines, parse
from tausestack_runtime.adapters.process import Child, Launch, Log
from tausestack_runtime.adapters.sandbox import Tier

PROTOCOL = "2025-11-25"
"""The newest version with an `initialize`; a server answers with the one that it speaks."""
START_SECONDS = 30.0
MAX_TOOLS = 1000
MAX_GARBAGE_LINES = 100
MAX_IN_FLIGHT = 64

Progress = Callable[[dict[str, Any]], Awaitable[None]]
"""Takes the parameters of a `notifications/progress`, without its token."""


class Broken(Exception):
    """The session ended in the middle of a request: it may have taken effect."""


class Answered(Exception):
    """The server answered with a JSON-RPC error; `error` is the raw object."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "")))
        self.error = error


@dataclass
class _Request:
    answer: asyncio.Future[dict[str, Any]]
    progress: asyncio.Queue[dict[str, Any]] | None


class Session:
    """A server's process from its first request to its last."""

    def __init__(
        self, name: str, launch: Launch, *, store: Path, tier: Tier, log: Log, idle_seconds: float = 300.0
    ) -> None:
        self.name, self.launch = name, launch
        self.initialized: dict[str, Any] = {}
        self.tools: list[dict[str, Any]] = []
        """The raw tool objects that it offered when it started."""
        self._store, self._log, self._idle = store, log, idle_seconds
        self._tier: Tier = tier
        self._ids = itertools.count(1)
        self._pending: dict[int, _Request] = {}
        self._child: Child | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stopping = asyncio.Event()
        self._touched = asyncio.Event()
        self._why = "it ended"
        self._owner = asyncio.create_task(self._own(), name=f"adapter {name}")

    @property
    def alive(self) -> bool:
        """Whether new requests may be sent to it."""
        return not self._owner.done() and not self._stopping.is_set()

    @property
    def pid(self) -> int | None:
        """The process, where it runs."""
        return None if self._child is None else self._child.pid

    async def ready(self) -> None:
        """Wait until the server has said what it offers, or raise `Unavailable` saying why it does not."""
        await asyncio.shield(self._ready)

    async def stop(self) -> None:
        """End the server; requests in flight fail as `Broken`."""
        self._why = "it was stopped"
        self._stopping.set()
        await asyncio.shield(self._owner)

    async def request(self, method: str, params: dict[str, Any], progress: Progress | None = None) -> dict[str, Any]:
        """Send a request and return its raw result; cancelling the caller cancels it there as well.

        Raises `Answered` for an error of the server's own, `Broken` where the session ended first, and `Unavailable`
        where nothing was sent.
        """
        await self.ready()
        if not self.alive or self._child is None:
            raise Unavailable(f"{self.name} has just stopped")
        if len(self._pending) >= MAX_IN_FLIGHT:
            raise Unavailable(f"{self.name} has {MAX_IN_FLIGHT} calls in flight already")
        return await self._exchange(self._child, method, params, progress)

    async def _exchange(
        self, child: Child, method: str, params: dict[str, Any], progress: Progress | None
    ) -> dict[str, Any]:
        number = next(self._ids)
        events: asyncio.Queue[dict[str, Any]] | None = None
        if progress is not None:
            events = asyncio.Queue(maxsize=256)
            params = {**params, "_meta": {**(as_object(params.get("_meta")) or {}), "progressToken": number}}
        request = _Request(asyncio.get_running_loop().create_future(), events)
        self._pending[number] = request
        self._touched.set()
        try:
            await self._send(child, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})
            if progress is None or events is None:
                return await request.answer
            return await _relay(request.answer, events, progress)
        except asyncio.CancelledError:
            if (request.answer.cancelled() or not request.answer.done()) and method != "initialize":
                gone = {"requestId": number, "reason": "the caller went away"}
                child.stdin.write(encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone}))
            raise
        finally:
            del self._pending[number]
            self._touched.set()
            if request.answer.done() and not request.answer.cancelled():
                request.answer.exception()  # seen, even where the caller was cancelled in the same moment

    async def _send(self, child: Child, message: dict[str, Any]) -> None:
        try:
            child.stdin.write(encode(message))
            await child.stdin.drain()
        except (BrokenPipeError, ConnectionResetError, RuntimeError) as error:
            raise Broken(f"{self.name} does not read any more") from error

    async def _own(self) -> None:
        try:
            self._child = await Child.start(self.launch, self._store, self._tier, self._log)
        except Unavailable as error:
            self._fail_start(error)
            return
        try:
            await self._live(self._child)
        finally:
            self._stopping.set()
            stopped = asyncio.create_task(self._child.stop())
            code = await asyncio.shield(stopped)
            self._log.info("stopped", server=self.name, why=self._why, exit_code=code)
            self._fail_start(Unavailable(f"{self.name} does not start: {self._why}"))
            for request in self._pending.values():
                if not request.answer.done():
                    request.answer.set_exception(Broken(f"{self.name} broke off: {self._why}"))

    async def _live(self, child: Child) -> None:
        tasks: list[asyncio.Task[None]] = [
            asyncio.create_task(self._read(child)),
            asyncio.create_task(self._greet(child)),
            asyncio.create_task(self._wait_for_idle()),
            asyncio.create_task(self._wait_for_stop()),
        ]
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if done != {tasks[1]}:
                    return
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self._log.info("session failed", server=self.name, error=repr(outcome))

    async def _wait_for_stop(self) -> None:
        await self._stopping.wait()

    async def _wait_for_idle(self) -> None:
        while True:
            self._touched.clear()
            if self._pending:
                await self._touched.wait()
                continue
            try:
                await asyncio.wait_for(self._touched.wait(), self._idle)
            except TimeoutError:
                self._why = "it was idle"
                return

    async def _greet(self, child: Child) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = {
                    "protocolVersion": PROTOCOL,
                    "capabilities": {},
                    "clientInfo": {"name": "tausestack", "version": VERSION},
                }
                self.initialized = await self._exchange(child, "initialize", hello, None)
                await self._send(child, {"jsonrpc": "2.0", "method": "notifications/initialized"})
                if "tools" in (as_object(self.initialized.get("capabilities")) or {}):
                    self.tools = await self._list_tools(child)
        except TimeoutError:
            self._why = f"it said nothing within {START_SECONDS:.0f} s"
            self._stopping.set()
        except Answered as error:
            self._why = f"it refused to start: {error}"[:300]
            self._stopping.set()
        except (Broken, UpstreamError) as error:
            self._why = str(error)[:300]
            self._stopping.set()
        else:
            if not self._ready.done():
                self._ready.set_result(None)

    async def _list_tools(self, child: Child) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        while True:
            page = await self._exchange(child, "tools/list", params, None)
            tools = [as_object(tool) for tool in as_array(page.get("tools")) or []]
            found += [tool for tool in tools if tool is not None and isinstance(tool.get("name"), str)]
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or not cursor:
                return found
            if len(found) > MAX_TOOLS or cursor == params.get("cursor"):
                raise UpstreamError(f"it lists more than {MAX_TOOLS} tools")
            params = {"cursor": cursor}

    def _fail_start(self, error: Unavailable) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # seen, even where nobody waits

    async def _read(self, child: Child) -> None:
        garbage = 0
        try:
            async for line in lines(child.stdout):
                message = parse(line)
                if message is None:
                    garbage += 1 if line.strip() else 0
                    if garbage > MAX_GARBAGE_LINES:
                        self._why = "it writes what is not JSON-RPC"
                        return
                    continue
                await self._received(child, message)
        except LineTooLong:
            self._why = "it wrote a line of more than 8 MiB"

    async def _received(self, child: Child, message: dict[str, Any]) -> None:
        method, number = message.get("method"), message.get("id")
        if isinstance(method, str):
            if number is not None:
                child.stdin.write(encode(_reply(method, number)))
                with suppress(ConnectionResetError, BrokenPipeError):  # the reader sees the end itself
                    await asyncio.wait_for(child.stdin.drain(), START_SECONDS)
            elif method == "notifications/progress":
                self._progressed(as_object(message.get("params")) or {})
            return
        request = self._pending.get(number) if type(number) is int else None
        if request is None or request.answer.done():
            return
        result, error = as_object(message.get("result")), as_object(message.get("error"))
        if result is not None:
            request.answer.set_result(result)
        elif error is not None:
            request.answer.set_exception(Answered(error))
        else:
            request.answer.set_exception(Answered({"code": -32603, "message": "neither a result nor an error"}))

    def _progressed(self, params: dict[str, Any]) -> None:
        token = params.get("progressToken")
        request = self._pending.get(token) if type(token) is int else None
        if request is not None and request.progress is not None:
            with suppress(asyncio.QueueFull):  # progress is news, not a record: what nobody reads is dropped
                request.progress.put_nowait({key: value for key, value in params.items() if key != "progressToken"})


def _reply(method: str, number: Any) -> dict[str, Any]:
    if method == "ping":
        return {"jsonrpc": "2.0", "id": number, "result": {}}
    refused = {"code": -32601, "message": f"{method[:80]} is not offered here"}
    return {"jsonrpc": "2.0", "id": number, "error": refused}


async def _relay(
    answer: asyncio.Future[dict[str, Any]], events: asyncio.Queue[dict[str, Any]], progress: Progress
) -> dict[str, Any]:
    while True:
        event = asyncio.ensure_future(events.get())
        try:
            await asyncio.wait({answer, event}, return_when=asyncio.FIRST_COMPLETED)
            if event.done():
                await progress(event.result())
                continue
        finally:
            event.cancel()
        while not events.empty():
            await progress(events.get_nowait())
        return answer.result()
