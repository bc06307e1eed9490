"""Each service's process, or its absence, behind a socket that always takes connections.

```
stopped ──connection──▶ starting ──▶ running ──idle, asked──▶ stopping ──▶ stopped
                            │           │
                            └── crash ──┴──▶ waiting ──delay──▶ stopped
                                             failing (many crashes in a row: answers 503, tries now and then)
```
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from tausestack.tenancy import credential_hash
from tausestack_runtime.services import ServiceSpec, instance_name, socket_path
from tausestack_runtime.supervisor.backoff import Backoff
from tausestack_runtime.supervisor.forks import Nurseries
from tausestack_runtime.supervisor.ground import SocketFolder
from tausestack_runtime.supervisor.linux import connections
from tausestack_runtime.supervisor.loop import Loop
from tausestack_runtime.supervisor.orders import Order, Report

State = Literal["stopped", "starting", "running", "stopping", "waiting", "failing"]

DRAIN_SECONDS = 10.0
"""How long calls in flight may take to finish once their process was told to stop."""
KILL_SECONDS = DRAIN_SECONDS + 1
MAX_CRASHES = 10
"""So many crashes in a row, and callers are told so at once rather than left waiting."""
FAILING_SECONDS = 30.0
"""How often a failing service is tried again."""
IDLE_CHECKS = 10
"""How often within its idle time a service is looked at."""
MAX_REQUEST_BYTES = 65536

REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 30\r\n"
    b"connection: close\r\ncontent-length: 52\r\n\r\n" + b'{"error": "the service keeps crashing, see the log"}'
)

OrderMaker = Callable[[ServiceSpec, Order], Order]


@dataclass(slots=True, eq=False)
class Instance:
    """One service, or one tenant's own process of it."""

    spec: ServiceSpec
    tenant: str | None
    path: Path
    listener: socket.socket
    backoff: Backoff
    state: State = "stopped"
    pid: int | None = None
    credential: str | None = None
    """The hash of its living process's credential."""
    started_at: float | None = None
    """Seconds since the epoch."""
    asked_at: float = 0.0
    born_at: float = 0.0
    busy_at: float = 0.0
    start_seconds: float | None = None
    restarts: int = 0
    removed: bool = False
    number: int = 1
    """Which of several processes of a service it is: callers reach the first."""

    @property
    def name(self) -> str:
        """Its name: the service's, with a hash of the tenant where each has its own, or a number from 2 on."""
        return instance_name(self.spec.name, self.tenant, self.number)


class Instances:
    """Starts, restarts and stops the processes of services."""

    def __init__(
        self,
        loop: Loop,
        log: structlog.typing.FilteringBoundLogger,
        folder: SocketFolder,
        complete: OrderMaker,
        delays: Sequence[float],
    ) -> None:
        """`complete` adds to an order what a service is given: data folder, keys, settings."""
        self._loop = loop
        self._log = log
        self._folder = folder
        self._complete = complete
        self._delays = delays
        self._nurseries: Nurseries | None = None
        self._all: dict[str, Instance] = {}
        self._ordered = 0
        self._closing = False

    def use(self, nurseries: Nurseries) -> None:
        """Set the fork servers that processes come from."""
        self._nurseries = nurseries

    def __iter__(self) -> Iterator[Instance]:
        """Iterate over every instance, by name."""
        return iter([self._all[name] for name in sorted(self._all)])

    def get(self, service: str, tenant: str | None = None) -> Instance | None:
        """Return the instance of a service, and of a tenant where each has its own."""
        return self._all.get(instance_name(service, tenant))

    def open(self, spec: ServiceSpec, tenant: str | None = None, number: int = 1) -> Instance:
        """Return the instance of a service, its socket bound and listening."""
        name = instance_name(spec.name, tenant, number)
        known = self._all.get(name)
        if known is not None:
            known.removed = False
            return known
        path = socket_path(self._folder.path, spec.name, tenant, number)
        instance = Instance(spec, tenant, path, self._folder.bind(path), Backoff(self._delays), number=number)
        self._all[name] = instance
        self._listen(instance)
        if spec.idle_seconds is not None:
            self._loop.after(spec.idle_seconds / IDLE_CHECKS, lambda: self._check_idle(instance))
        return instance

    def start(self, instance: Instance) -> None:
        """Start an instance's process, if it has none."""
        if self._closing or instance.state not in {"stopped", "waiting", "failing"}:
            return
        assert self._nurseries is not None
        self._loop.unwatch(instance.listener)
        credential = secrets.token_urlsafe(32)
        instance.state, instance.asked_at = "starting", time.monotonic()
        instance.credential = credential_hash(credential)
        order = Order(
            self._nurseries.next_id(),
            instance.spec.name,
            module=instance.spec.module,
            process_credential=credential,
            tenant=instance.tenant,
        )
        self._ordered += 1
        nursery = self._nurseries.heavy if instance.spec.heavy else self._nurseries.light
        complete = self._complete(instance.spec, order)
        nursery.order(complete, instance.listener.dup(), lambda report: self._reported(instance, report))

    def _reported(self, instance: Instance, report: Report) -> None:
        """Take a fork server's answer to an order."""
        self._ordered -= 1
        if report.pid is None:
            self._log.error("service did not start", service=instance.name, error=report.error)
            self._crashed(instance, 0.0, killed=report.killed)
            return
        instance.pid = report.pid
        instance.started_at = time.time()
        instance.born_at = instance.busy_at = time.monotonic()
        instance.start_seconds = instance.born_at - instance.asked_at
        if instance.state == "stopping" or self._closing:
            self.stop(instance)
            return
        instance.state = "running"
        self._log.info(
            "service started", service=instance.name, pid=instance.pid, seconds=round(instance.start_seconds, 4)
        )

    def exited(self, pid: int, code: int) -> bool:
        """Note that a process ended, by its exit code or the negative signal; return whether it was a service's."""
        instance = next((known for known in self._all.values() if known.pid == pid), None)
        if instance is None:
            return False
        meant = instance.state == "stopping" or code == 0
        instance.pid, instance.started_at = None, None
        if meant:
            self._log.info("service stopped", service=instance.name, pid=pid)
            instance.backoff.reset()
            self._ended(instance)
        else:
            self._log.warning("service crashed", service=instance.name, pid=pid, code=code)
            lived = time.monotonic() - instance.born_at
            self._crashed(instance, lived, killed=code == -signal.SIGKILL)
        return True

    def stop(self, instance: Instance) -> None:
        """Tell an instance's process to stop once its calls have finished."""
        if instance.state == "starting":
            instance.state = "stopping"
        if instance.pid is None:
            return
        instance.state = "stopping"
        pid = instance.pid
        os.kill(pid, signal.SIGTERM)
        self._loop.after(KILL_SECONDS, lambda: self._kill(instance, pid))

    def remove(self, instance: Instance) -> None:
        """Stop an instance for good: its socket goes with its process."""
        instance.removed = True
        self.stop(instance)
        if instance.pid is None and instance.state != "stopping":
            self._ended(instance)

    def restart(self, instance: Instance) -> None:
        """Have a fresh process serve the next call; one that waited after crashes waits no more."""
        instance.backoff.reset()
        if instance.state in {"waiting", "failing"}:
            self._ended(instance)
        else:
            self.stop(instance)

    def close(self) -> None:
        """Stop every process and start none again."""
        self._closing = True
        for instance in self:
            self._loop.unwatch(instance.listener)
            self.stop(instance)

    def kill(self) -> None:
        """Kill what still runs."""
        for instance in self:
            if instance.pid is not None:
                self._kill(instance, instance.pid)

    @property
    def living(self) -> bool:
        """Whether any process runs or is being born."""
        return self._ordered > 0 or any(instance.pid is not None for instance in self._all.values())

    def _kill(self, instance: Instance, pid: int) -> None:
        if instance.pid == pid:
            self._log.warning("service did not stop in time: killed", service=instance.name, pid=pid)
            os.kill(pid, signal.SIGKILL)

    def _ended(self, instance: Instance) -> None:
        instance.state, instance.credential = "stopped", None
        if instance.removed:
            self._loop.unwatch(instance.listener)
            del self._all[instance.name]
            instance.listener.close()
            instance.path.unlink(missing_ok=True)
        elif instance.spec.worker and not self._closing:
            self.start(instance)
        else:
            self._listen(instance)

    def _listen(self, instance: Instance) -> None:
        if not self._closing:
            self._loop.unwatch(instance.listener)
            self._loop.watch(instance.listener, lambda: self.start(instance))

    def _crashed(self, instance: Instance, lived: float, *, killed: bool = False) -> None:
        instance.restarts += 1
        instance.credential = None
        delay = instance.backoff.crashed(lived, killed=killed)
        if instance.removed or self._closing or instance.state == "stopping":
            self._ended(instance)
            return
        instance.state = "waiting"
        if instance.backoff.crashes >= MAX_CRASHES:
            instance.state, delay = "failing", FAILING_SECONDS
            self._log.error("service keeps crashing", service=instance.name, crashes=instance.backoff.crashes)
            self._loop.watch(instance.listener, lambda: _refuse(instance.listener))
        state, crashes = instance.state, instance.backoff.crashes
        self._loop.after(delay, lambda: self._waited(instance, state, crashes))

    def _waited(self, instance: Instance, state: State, crashes: int) -> None:
        if instance.state == state and instance.backoff.crashes == crashes:
            self._ended(instance)

    def _check_idle(self, instance: Instance) -> None:
        if self._closing or self._all.get(instance.name) is not instance:
            return
        idle = instance.spec.idle_seconds
        assert idle is not None
        now = time.monotonic()
        if instance.state == "running":
            if connections()[str(instance.path)]:
                instance.busy_at = now
            elif now - instance.busy_at >= idle:
                self._log.info("service is idle", service=instance.name, pid=instance.pid)
                self.stop(instance)
        self._loop.after(idle / IDLE_CHECKS, lambda: self._check_idle(instance))


def _refuse(listener: socket.socket) -> None:
    """Answer every connection that waits with 503; what was sent is read first, lest closing reset the answer."""
    while True:
        try:
            connection, _address = listener.accept()
        except BlockingIOError:
            return
        with connection, contextlib.suppress(OSError):  # whoever asked may be gone
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while connection.recv(MAX_REQUEST_BYTES):
                    continue
            connection.send(REFUSAL)
            connection.shutdown(socket.SHUT_WR)
