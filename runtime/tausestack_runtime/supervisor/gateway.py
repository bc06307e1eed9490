"""The gateways' processes: fresh interpreters that inherit the sockets, each started again when it dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from tausestack_runtime.board import Board
from tausestack_runtime.supervisor.backoff import Backoff
from tausestack_runtime.supervisor.loop import Loop
from tausestack_runtime.supervisor.spawn import spawn


class GatewayProcess:
    """Keeps one gateway running."""

    def __init__(
        self,
        loop: Loop,
        log: structlog.typing.FilteringBoundLogger,
        command: Sequence[str],
        environment: Mapping[str, str],
        passed: Sequence[int],
        number: int,
        gone: Callable[[], None],
    ) -> None:
        """Take its command, its whole environment, what it inherits, its number, and what to do when it has ended."""
        self._loop = loop
        self._log = log.bind(gateway=number)
        self._command = command
        self._environment = environment
        self._passed = passed
        self._gone = gone
        self._backoff = Backoff()
        self._born_at = 0.0
        self._closing = False
        self.number = number
        self.pid: int | None = None
        self.started_at: float | None = None
        self.restarts = 0

    def start(self) -> None:
        """Start it, unless the stack is being stopped."""
        if self._closing:
            return
        self.pid = spawn(self._command, self._environment, self._passed)
        self._born_at, self.started_at = time.monotonic(), time.time()
        self._log.info("gateway started", pid=self.pid)

    def exited(self, pid: int, code: int) -> bool:
        """Note that a process ended, by its exit code or the negative signal; return whether it was this gateway's."""
        if pid != self.pid:
            return False
        self.pid, self.started_at = None, None
        self._gone()
        if self._closing:
            self._log.info("gateway stopped", pid=pid)
            return True
        delay = self._backoff.crashed(time.monotonic() - self._born_at, killed=code == -signal.SIGKILL)
        self.restarts += 1
        self._log.error("gateway died", pid=pid, code=code, again_in=delay)
        self._loop.after(delay, self.start)
        return True

    def stop(self) -> None:
        """Tell it to finish what is in flight and end."""
        self._closing = True
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.pid is not None:
            self._log.warning("gateway did not stop in time: killed", pid=self.pid)
            os.kill(self.pid, signal.SIGKILL)


class Gateways:
    """All gateways of a stack, which share a port, an internal socket and a board."""

    def __init__(self, board: Board, processes: Sequence[GatewayProcess]) -> None:
        self._board = board
        self._processes = processes

    def __iter__(self) -> Iterator[GatewayProcess]:
        return iter(self._processes)

    @property
    def pids(self) -> set[int]:
        """The ids of those that run."""
        return {one.pid for one in self._processes if one.pid is not None}

    def connections(self, one: GatewayProcess) -> int | None:
        """Return how many connections a gateway has, or None while it takes none."""
        return self._board.connections(one.number)

    def start(self) -> None:
        """Start them all."""
        for one in self._processes:
            one.start()

    def exited(self, pid: int, code: int) -> bool:
        """Note that a process ended; return whether it was a gateway."""
        return any(one.exited(pid, code) for one in self._processes)

    def stop(self) -> None:
        """Tell them all to finish what is in flight and end."""
        for one in self._processes:
            one.stop()

    def kill(self) -> None:
        """Kill those that still run."""
        for one in self._processes:
            one.kill()
