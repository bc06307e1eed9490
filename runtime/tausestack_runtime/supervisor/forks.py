"""The supervisor's side of the fork server that every service is born from."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from tausestack_runtime.supervisor.backoff import Backoff
from tausestack_runtime.supervisor.loop import Loop
from tausestack_runtime.supervisor.orders import Order, Report, receive_report, send_order
from tausestack_runtime.supervisor.spawn import spawn

FULL_PAUSE_SECONDS = 0.02


class Forks:
    """Sends the fork server orders, and starts another when it dies; what is ordered early waits in the channel."""

    def __init__(
        self,
        loop: Loop,
        log: structlog.typing.FilteringBoundLogger,
        environment: Mapping[str, str],
        modules: Sequence[str],
        reported: Callable[[Report], None],
    ) -> None:
        """`modules` are those of the services, for the fork server to import.

        `reported` gets one report for each order, whatever happens to the fork server.
        """
        self._loop = loop
        self._log = log
        self._environment = environment
        self._modules = modules
        self._reported = reported
        self._channel: socket.socket | None = None
        self._waiting: set[int] = set()
        self._outbox: deque[tuple[Order, socket.socket]] = deque()
        self._backoff = Backoff()
        self._ids = itertools.count(1)
        self._closed = False
        self.pid: int | None = None

    @property
    def settled(self) -> bool:
        """Whether no process is being born whose id is not known yet."""
        return not self._waiting

    def next_id(self) -> int:
        """Return the id for a new order."""
        return next(self._ids)

    def adopt(self, pid: int, channel: socket.socket) -> None:
        """Take over the fork server that was split off, by its end of the channel."""
        channel.setblocking(False)
        self.pid, self._channel = pid, channel
        self._loop.watch(channel, self._heard)

    def order(self, order: Order, passed: socket.socket) -> None:
        """Have a process forked; takes over the socket passed."""
        if self._channel is None:
            passed.close()
            late = Report(order.id, error="the fork server is being started again")
            self._loop.after(0, lambda: self._reported(late))
            return
        self._waiting.add(order.id)
        self._outbox.append((order, passed))
        self._send()

    def hear(self) -> None:
        """Take every report that has come: a process reports before it can end, so none is reaped unknown."""
        while self._heard():
            continue

    def close(self) -> None:
        """Have the fork server end, and start none again."""
        self._closed = True
        self._drop()
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def _start(self) -> None:
        """Start another fork server in place of one that died."""
        if self._closed:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tausestack_runtime.supervisor.nursery", str(theirs.fileno())]
            pid = spawn([*command, str(os.getpid()), *self._modules], self._environment, [theirs.fileno()])
        self.adopt(pid, ours)
        self._log.debug("fork server starts", pid=pid)

    def _send(self) -> None:
        while self._outbox and self._channel is not None:
            order, passed = self._outbox[0]
            try:
                send_order(self._channel, order, passed)
            except BlockingIOError:
                self._loop.after(FULL_PAUSE_SECONDS, self._send)
                return
            except OSError:
                return  # it is dead: the end of the channel, which is read next, answers all that waits
            self._outbox.popleft()
            passed.close()

    def _heard(self) -> bool:
        """Take one report, if there is one, and return whether there was."""
        if self._channel is None:
            return False
        try:
            report = receive_report(self._channel)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            report = None
        if report is None:
            self._died()
            return False
        self._waiting.discard(report.id)
        self._reported(report)
        return True

    def _died(self) -> None:
        self._drop()
        self.pid = None
        delay = self._backoff.crashed(0.0)
        self._log.error("fork server died", again_in=delay)
        lost, self._waiting = sorted(self._waiting), set()
        for order in lost:
            self._reported(Report(order, error="the fork server died"))
        self._loop.after(delay, self._start)

    def _drop(self) -> None:
        if self._channel is None:
            return
        self._loop.unwatch(self._channel)
        self._channel.close()
        self._channel = None
        for _order, passed in self._outbox:
            passed.close()
        self._outbox.clear()
