"""A process apart: it takes the runs that it is told to as far as they go, one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio

from tausestack.database import TenantDatabases
from tausestack.errors import TauseError, Unavailable
from tausestack.mcp import ServiceEnv
from tausestack.telemetry import configure_logging
from tausestack.tracing import tracing
from tausestack_agents.bell import Bell
from tausestack_agents.checkpoints import Checkpoints
from tausestack_agents.dispatch import Dispatch
from tausestack_agents.execution import Absent, Executor
from tausestack_agents.gateway import connected
from tausestack_agents.replaying import replay
from tausestack_agents.store import Fenced
from tausestack_agents.tables import SCHEMA
from tausestack_agents.timers import Timers

LATE_SECONDS = 3
"""How long after its time was up a run may need to end; where its code holds the process up, that is ended."""
_AT_ONCE = 65536


def living(env: ServiceEnv) -> Callable[[socket.socket], None]:
    """Return what a process apart does."""

    def live(line: socket.socket) -> None:
        configure_logging(env.log_level, "agents-apart")
        asyncio.run(_live(Line(line), env))

    return live


class Line:
    """This process's end of the line to whoever has it take runs; that one's going away ends it."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._heard = b""
        self._asked: deque[dict[str, Any]] = deque()
        self._news = anyio.Event()
        self.until = 0.0
        """So long, in `time.monotonic`'s seconds, the run under way is this process's for certain."""
        self.scope: anyio.CancelScope | None = None
        """What is cancelled when the run is to be let go of."""

    def fileno(self) -> int:
        """Return the socket's number, for the loop to watch."""
        return self._socket.fileno()

    def hear(self) -> None:
        """Take in what has come; also called where code has kept the loop from turning."""
        while True:
            try:
                came = self._socket.recv(_AT_ONCE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                came = b""
            if not came:
                os._exit(0)
            *messages, self._heard = (self._heard + came).split(b"\n")
            for message in messages:
                self._take(json.loads(message))

    def holds(self) -> bool:
        """Return whether the run under way is this process's for certain."""
        self.hear()
        return time.monotonic() < self.until

    def tell(self, **told: Any) -> None:
        """Say something."""
        self._socket.sendall(json.dumps(told).encode() + b"\n")

    async def asked(self) -> dict[str, Any]:
        """Return what to do next, once there is something."""
        while not self._asked:
            await self._news.wait()
        return self._asked.popleft()

    def _take(self, message: dict[str, Any]) -> None:
        if "until" in message:
            self.until = float(message["until"])
        if "do" in message:
            self._asked.append(message)
            self._news.set()
            self._news = anyio.Event()
        if "cancel" in message and self.scope is not None:
            self.scope.cancel()


class _Ringing(Bell):
    """Rings there where those are who follow a run."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def ring(self, tenant: str, run: str, *, stops: bool = True) -> None:
        self._line.tell(ring=stops)


async def _live(line: Line, env: ServiceEnv) -> None:
    assert env.gateway is not None
    assert env.process_credential is not None
    asyncio.get_running_loop().add_reader(line.fileno(), line.hear)
    async with AsyncExitStack() as stack:
        traces = tracing(env.otlp_endpoint, "agents-apart")
        if traces is not None:
            stack.callback(traces.close)
        databases = TenantDatabases(SCHEMA, data=env.data, url=env.database_url)
        stack.push_async_callback(databases.aclose)
        gateway = await stack.enter_async_context(connected(env.gateway, env.process_credential, traces))
        checkpoints = Checkpoints(databases, env.data, env.database_url)
        stack.push_async_callback(checkpoints.aclose)
        dispatch, timers = Dispatch.of(databases, os.environ), Timers(databases)
        executor = Executor(
            databases, gateway, checkpoints, _Ringing(line), dispatch.add, timers, traces, bounded=_bound
        )
        while True:
            asked = await line.asked()
            with anyio.CancelScope() as line.scope:
                line.tell(**await _done(asked, line, executor, databases))
            if line.scope.cancelled_caught:
                line.tell(ended="cancelled")
            line.scope = None
            signal.alarm(0)


async def _done(asked: dict[str, Any], line: Line, executor: Executor, databases: TenantDatabases) -> dict[str, Any]:
    """Do what is asked for, and return what is to be said of it."""
    tenant, run = asked["tenant"], asked["run"]
    try:
        if asked["do"] == "replay":
            _bound(float(asked["seconds"]))
            return {"ended": "done", "replayed": await replay(databases, tenant, run, own_code=True)}
        await executor.execute(tenant, run, line.holds)
    except Absent:
        return {"ended": "absent"}
    except Fenced:
        return {"ended": "fenced"}
    except Unavailable as error:
        return {"ended": "unavailable", "message": error.message}
    except TauseError as error:
        return {"ended": "refused", "message": error.message, "data": {**error.data, "code": error.code}}
    return {"ended": "done"}


def _bound(seconds: float) -> None:
    """Have the kernel end this process where a run's code keeps it from ending in time."""
    signal.alarm(int(seconds) + LATE_SECONDS)
