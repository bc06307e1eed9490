"""The supervisor's side of its fork servers: one for every service, and one more for each heavy preload."""

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

Preload = tuple[str, ...]


class ForkServer:
    """One fork server's channel; what is ordered before it listens waits in the channel."""

    def __init__(self, name: str, channel: socket.socket, preload: Preload) -> None:
        channel.setblocking(False)
        self.name = name
        self.channel = channel
        self.preload = preload
        self.pid: int | None = None
        self.waiting: set[int] = set()
        self.outbox: deque[tuple[Order, socket.socket]] = deque()


class Forks:
    """Starts fork servers, sends them orders, and starts them again when they die."""

    def __init__(
        self,
        loop: Loop,
        log: structlog.typing.FilteringBoundLogger,
        environment: Mapping[str, str],
        modules: Sequence[str],
        reported: Callable[[Report], None],
    ) -> None:
        """`modules` are those of the services, for the light fork server to import.

        `reported` gets one report for each order, whatever happens to the fork server.
        """
        self._loop = loop
        self._log = log
        self._environment = environment
        self._modules = modules
        self._reported = reported
        self._servers: dict[Preload, ForkServer] = {}
        self._backoffs: dict[Preload, Backoff] = {}
        self._births: dict[int, ForkServer] = {}
        self._ids = itertools.count(1)
        self._closed = False

    @property
    def servers(self) -> list[ForkServer]:
        """The fork servers that live, or are about to."""
        return list(self._servers.values())

    @property
    def settled(self) -> bool:
        """Whether no process is being born whose id is not known yet."""
        return not self._births and not any(server.waiting for server in self._servers.values())

    def next_id(self) -> int:
        """Return the id for a new order."""
        return next(self._ids)

    def start(self, preload: Preload) -> None:
        """Start the fork server of a preload; the empty one first, for the others are forked from it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server = self._take(ours, preload)
        with theirs:
            if preload:
                birth = self.next_id()
                self._births[birth] = server
                self.order((), Order(birth, "nursery", preload=preload), theirs.dup())
            else:
                command = [sys.executable, "-m", "tausestack_runtime.supervisor.nursery", str(theirs.fileno())]
                server.pid = spawn([*command, str(os.getpid()), *self._modules], self._environment, [theirs.fileno()])
        self._log.debug("fork server starts", preload=preload)

    def adopt(self, pid: int, channel: socket.socket) -> None:
        """Take over the light fork server, which was split off before."""
        self._take(channel, ()).pid = pid

    def order(self, preload: Preload, order: Order, passed: socket.socket) -> None:
        """Have a process forked by the fork server of a preload; takes over the socket passed."""
        server = self._servers.get(preload)
        if server is None:
            passed.close()
            self._loop.after(0, lambda: self._answer(Report(order.id, error="the fork server is being started again")))
            return
        server.waiting.add(order.id)
        server.outbox.append((order, passed))
        self._send(server)

    def hear(self) -> None:
        """Take every report that has come: a process reports before it can end, so none is reaped unknown."""
        for server in self.servers:
            while self._servers.get(server.preload) is server and self._heard(server):
                continue

    def close(self) -> None:
        """Have every fork server end, and start none again."""
        self._closed = True
        for server in self.servers:
            self._drop(server)
            if server.pid is not None:
                os.kill(server.pid, signal.SIGKILL)

    def _take(self, channel: socket.socket, preload: Preload) -> ForkServer:
        server = ForkServer("nursery" if not preload else f"nursery-{preload[0]}", channel, preload)
        self._servers[preload] = server
        self._loop.watch(channel, lambda: self._heard(server))
        return server

    def _send(self, server: ForkServer) -> None:
        while server.outbox:
            order, passed = server.outbox[0]
            try:
                send_order(server.channel, order, passed)
            except BlockingIOError:
                self._loop.after(FULL_PAUSE_SECONDS, lambda: self._send(server))
                return
            except OSError:
                return  # it is dead: the end of the channel, which is read next, answers all that waits
            server.outbox.popleft()
            passed.close()

    def _heard(self, server: ForkServer) -> bool:
        """Take one report, if there is one, and return whether there was."""
        try:
            report = receive_report(server.channel)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            report = None
        if report is None:
            self._died(server)
            return False
        server.waiting.discard(report.id)
        self._answer(report)
        return True

    def _answer(self, report: Report) -> None:
        server = self._births.pop(report.id, None)
        if server is None:
            self._reported(report)
        elif report.pid is not None:
            server.pid = report.pid

    def _died(self, server: ForkServer) -> None:
        self._drop(server)
        backoff = self._backoffs.setdefault(server.preload, Backoff())
        delay = backoff.crashed(0.0)
        self._log.error("fork server died", name=server.name, again_in=delay)
        for order in sorted(server.waiting):
            self._answer(Report(order, error="the fork server died"))
        self._loop.after(delay, lambda: self._restart(server.preload))

    def _restart(self, preload: Preload) -> None:
        if not self._closed and preload not in self._servers:
            self.start(preload)

    def _drop(self, server: ForkServer) -> None:
        self._loop.unwatch(server.channel)
        server.channel.close()
        for _order, passed in server.outbox:
            passed.close()
        server.outbox.clear()
        if self._servers.get(server.preload) is server:
            del self._servers[server.preload]
