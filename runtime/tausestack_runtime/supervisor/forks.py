"""The supervisor's side of the fork servers that every service is born from."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from tausestack_runtime.supervisor.backoff import Backoff
from tausestack_runtime.supervisor.linux import ended_by
from tausestack_runtime.supervisor.loop import Loop
from tausestack_runtime.supervisor.orders import Order, Report, receive_report, send_order
from tausestack_runtime.supervisor.spawn import spawn

FULL_PAUSE_SECONDS = 0.02

Reported = Callable[[Report], None]
"""Takes the one report on an order."""
Begin = Callable[[socket.socket, Reported], None]
"""Has a fork server begin on a socket, its end of a channel, and reports its process."""


class Forks:
    """Sends a fork server orders, and starts another when it dies; what is ordered early waits in the channel."""

    def __init__(self, loop: Loop, log: structlog.typing.FilteringBoundLogger, name: str, begin: Begin) -> None:
        self._loop = loop
        self._log = log
        self._begin = begin
        self._channel: socket.socket | None = None
        self._waiting: dict[int, Reported] = {}
        self._outbox: deque[tuple[Order, socket.socket]] = deque()
        self._backoff = Backoff()
        self._resting = False
        """Whether it died, and is begun again after a while."""
        self._killed = False
        """Whether it ended by being killed from outside, or who was to bear it did."""
        self._closed = False
        self.name = name
        self.pid: int | None = None

    @property
    def settled(self) -> bool:
        """Whether no process is being born whose id is not known yet."""
        return not self._waiting

    def adopt(self, pid: int | None, channel: socket.socket) -> None:
        """Take over a fork server by its end of the channel."""
        channel.setblocking(False)
        self.pid, self._channel = pid, channel
        self._loop.watch(channel, self._heard)

    def order(self, order: Order, passed: socket.socket, reported: Reported) -> None:
        """Have a process forked; takes over the socket passed.

        `reported` gets one report, whatever happens to the fork server.
        """
        if self._channel is None and not self._resting:
            self._start()
        if self._channel is None:
            passed.close()
            late = Report(order.id, error="the fork server is being started again", killed=self._killed)
            self._loop.after(0, lambda: reported(late))
            return
        self._waiting[order.id] = reported
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
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _start(self) -> None:
        """Have a fork server begin."""
        self._resting, self._killed = False, True  # until its process is known
        if self._closed:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.adopt(None, ours)
        with theirs:
            self._begin(theirs, self._begun)

    def _begun(self, report: Report) -> None:
        """Note its process; of one that could not begin the channel tells, whose other end is closed."""
        self.pid, self._killed = report.pid, report.killed
        self._log.debug("fork server starts", service=self.name, pid=report.pid, error=report.error)

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
        if report.error is None:
            self._backoff.reset()  # what bears processes works, however it ends
        self._waiting.pop(report.id)(report)
        return True

    def _died(self) -> None:
        self._drop()
        if self.pid is not None:
            self._killed = ended_by(self.pid) == -signal.SIGKILL
        self.pid, self._resting = None, True
        delay = self._backoff.crashed(0.0, killed=self._killed)
        self._log.error("fork server died", service=self.name, again_in=delay)
        lost, self._waiting = self._waiting, {}
        for order, reported in sorted(lost.items()):
            reported(Report(order, error="the fork server died", killed=self._killed))
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


class Nurseries:
    """The fork servers: one that has imported what is light, and once it is needed one forked from it for the rest."""

    def __init__(
        self,
        loop: Loop,
        log: structlog.typing.FilteringBoundLogger,
        environment: Mapping[str, str],
        modules: Sequence[str],
        heavy: Sequence[str],
    ) -> None:
        """`modules` and `heavy` are those of the services, for the fork servers to import."""
        self._environment = environment
        self._modules = modules
        self._heavy = heavy
        self._ids = itertools.count(1)
        self.light = Forks(loop, log, "nursery", self._spawned)
        self.heavy = Forks(loop, log, "nursery-heavy", self._forked)

    def __iter__(self) -> Iterator[Forks]:
        """Iterate over the fork servers."""
        return iter((self.light, self.heavy))

    @property
    def pids(self) -> set[int]:
        """The processes of those that there are."""
        return {each.pid for each in self if each.pid is not None}

    @property
    def settled(self) -> bool:
        """Whether no process is being born whose id is not known yet."""
        return all(each.settled for each in self)

    def next_id(self) -> int:
        """Return the id for a new order."""
        return next(self._ids)

    def hear(self) -> None:
        """Take every report that has come."""
        for each in self:
            each.hear()

    def close(self) -> None:
        """Have the fork servers end, and start none again."""
        for each in self:
            each.close()

    def _spawned(self, channel: socket.socket, reported: Reported) -> None:
        """Start a light one in place of one that died, from a fresh interpreter."""
        command = [sys.executable, "-P", "-m", "tausestack_runtime.supervisor.nursery", str(channel.fileno())]
        pid = spawn([*command, str(os.getpid()), *self._modules], self._environment, [channel.fileno()])
        reported(Report(0, pid=pid))

    def _forked(self, channel: socket.socket, reported: Reported) -> None:
        order = Order(self.next_id(), self.heavy.name, bears=self._heavy)
        self.light.order(order, channel.dup(), reported)
