"""The supervisor itself: puts a stack together, keeps it running, takes it down."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from types import FrameType
from typing import NoReturn

import structlog

from tausestack.errors import TauseError
from tausestack.names import SYSTEM_TENANT
from tausestack.telemetry import configure_logging
from tausestack_runtime.board import Board
from tausestack_runtime.keys import Masters, operator_key
from tausestack_runtime.services import ADAPTER, SERVICES, ServiceSpec, control_socket, gateway_socket
from tausestack_runtime.settings import SECRET_VARIABLES, Settings, StartError, without_vendors_keys
from tausestack_runtime.signing import SigningKeys
from tausestack_runtime.supervisor.backoff import DELAYS
from tausestack_runtime.supervisor.desk import ControlDesk
from tausestack_runtime.supervisor.figures import Operations
from tausestack_runtime.supervisor.forks import Nurseries
from tausestack_runtime.supervisor.gateway import GatewayProcess, Gateways
from tausestack_runtime.supervisor.ground import (
    SocketFolder,
    bind_port,
    check_database,
    check_restored,
    claim_data,
    raise_file_limit,
)
from tausestack_runtime.supervisor.instances import DRAIN_SECONDS, Instances
from tausestack_runtime.supervisor.linux import become_subreaper, children, conceal, process_started_at
from tausestack_runtime.supervisor.loop import Loop
from tausestack_runtime.supervisor.orders import Order
from tausestack_runtime.supervisor.ready import ReadyProbe
from tausestack_runtime.supervisor.spawn import asked_apart, split_off
from tausestack_runtime.supervisor.work import has_work

DATABASE_VARIABLE = "TAUSESTACK_DATABASE_URL"
GATEWAY_COMMAND = (sys.executable, "-P", "-m", "tausestack_runtime.gateway")
POSTGRES = ("tausestack.database.postgres", "sqlalchemy.dialects.postgresql.psycopg")
"""What a heavy service imports beside its own where the database is PostgreSQL."""
DATABASE_SECONDS = 10.0
"""How long a start waits for PostgreSQL to say whose it is; services ask again before they open it."""
GRACE_SECONDS = 0.5
"""What a process may take beyond its drain to end by itself."""
SWEEP_SECONDS = 0.1

WORK_SECONDS = 2.0
"""How often it is looked whether there is work for services that were never started."""
LOOK_SECONDS = 600.0
"""How often the age of the signing key is looked at."""


class Supervisor:
    """One stack: its sockets, its gateways, its services, on one thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        services: Sequence[ServiceSpec] = SERVICES,
        adapter: ServiceSpec = ADAPTER,
        gateway: Sequence[str] = GATEWAY_COMMAND,
        delays: Sequence[float] = DELAYS,
    ) -> None:
        """Claim the data folder and the port, or raise `StartError`; nothing is started yet."""
        if settings.gateways > 1 and settings.database_url is None:
            raise StartError(
                f"{settings.gateways} gateways need PostgreSQL: give its URL with --database-url, or start one gateway"
            )
        if settings.workers > 1 and settings.database_url is None:
            raise StartError(
                f"{settings.workers} workers need PostgreSQL: give its URL with --database-url, or start one worker"
            )
        self._settings = settings
        configure_logging(settings.log_level, "supervisor")
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
        become_subreaper()
        raise_file_limit()
        plain = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
        plain |= settings.environment()
        # It may hold a password. A service is told it in its order; pip, which a service runs, is not.
        plain.pop(DATABASE_VARIABLE, None)
        modules = _modules(spec for spec in (*services, adapter) if not spec.heavy)
        conceal((*SECRET_VARIABLES, DATABASE_VARIABLE))
        nursery = split_off(lambda channel: _be_nursery(channel, plain, modules))
        self._lock = claim_data(settings.data)
        check_restored(settings.data, in_files=settings.database_url is None)
        self._check_database()
        self._masters = Masters.of(settings)
        operator_key(settings.data)
        self._port = bind_port(settings.host, settings.port)
        self._signing = SigningKeys(settings.data, self._masters)
        self._signing.ensure(self._signing_age)
        self._folder = SocketFolder(settings.data)
        self._door = gateway_socket(self._folder.path)
        self._internal = self._folder.bind(self._door)
        self._loop = Loop()
        self._told_to_stop = 0
        self._services = services

        address, port = self._port.getsockname()[:2]
        self._url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
        started_at = process_started_at(os.getpid())
        self._board_fd = Board.make(settings.gateways)
        self._for_gateway = settings.model_copy(
            update={
                "port": port,
                "run": self._folder.path,
                "listen_fd": self._port.fileno(),
                "internal_fd": self._internal.fileno(),
                "board_fd": self._board_fd,
                "started_at": started_at,
            }
        )
        self._instances = Instances(self._loop, self._log, self._folder, self._complete, delays)
        heavy = [*_modules(spec for spec in services if spec.heavy), *(POSTGRES if settings.database_url else ())]
        self._nurseries = Nurseries(self._loop, self._log, plain, modules, heavy)
        self._nurseries.light.adopt(*nursery)
        self._instances.use(self._nurseries)
        board = self._board = Board(settings.gateways, self._board_fd)
        self._own_doors = [self._folder.bind(gateway_socket(self._folder.path, one)) for one in board.numbers]
        each = zip(board.numbers, self._own_doors, strict=True)
        self._gateways = Gateways(board, [self._gateway(gateway, plain, board, *one) for one in each])
        for spec in services:
            for number in range(1, settings.workers + 1 if spec.worker else 2):
                self._instances.open(spec, number=number)
        self._ready = ReadyProbe(self._loop, self._log, self._port.getsockname(), started_at, self._wake_workers)
        operations = Operations(
            self._for_gateway, adapter, self._instances, self._gateways, self._ready, self._nurseries
        )
        operations.keep_keys(self._masters, self._signing)
        self._desk = ControlDesk(self._loop, self._folder.bind(control_socket(self._folder.path)), operations.answer)

    def run(self) -> int:
        """Run the stack until SIGTERM or SIGINT, and return the exit code."""
        with self._signals():
            self._gateways.start()
            self._ready.start()
            self._loop.after(LOOK_SECONDS, self._look_at_signing_key)
            self._log.info("stack started", url=self._url, data=str(self._settings.data))
            while not self._told_to_stop:
                self._note_workers()
                self._loop.turn()
            self._stop()
        return 0

    def _stop(self) -> None:
        self._log.info("stack stops")
        self._ready.close()
        self._port.close()  # a gateway's copy goes with the gateway: then the port refuses
        self._gateways.stop()
        if not self._wait(lambda: not self._gateways.pids):
            self._gateways.kill()
        self._instances.close()
        if not self._wait(lambda: not self._instances.living):
            self._instances.kill()
            self._loop.turn_until(lambda: not self._instances.living, GRACE_SECONDS)
        self._nurseries.close()
        self._sweep()
        self._loop.turn_until(lambda: not children(), GRACE_SECONDS)
        self._desk.close()
        for door in (self._internal, *self._own_doors):
            door.close()
        os.close(self._board_fd)
        self._folder.remove()
        self._loop.close()
        os.close(self._lock)
        self._log.info("stack stopped")

    def _wait(self, done: Callable[[], bool]) -> bool:
        """Turn until something is so, a second signal comes, or the time for it is over; return whether it is so."""
        self._loop.turn_until(lambda: done() or self._told_to_stop > 1, DRAIN_SECONDS + GRACE_SECONDS)
        return done()

    def _check_database(self) -> None:
        """Raise `StartError` where the database is another installation's, or not the one that this one's is in."""
        data, url = self._settings.data, self._settings.database_url
        if url is None:
            check_database(data, url)
            return

        def ask() -> str:
            from tausestack.database.mark import make_mark  # as in `check_database`

            make_mark(data)
            try:
                check_database(data, url)
            except StartError as refusal:
                return str(refusal)
            return ""

        why = asked_apart(ask, DATABASE_SECONDS)
        if why is None:
            self._log.warning("the database can't be asked whose it is: it is away, or takes too long")
        elif why:
            raise StartError(why)

    def _secret(self) -> Mapping[str, str]:
        given = zip(SECRET_VARIABLES, (self._settings.secret, self._settings.previous_secret), strict=True)
        return {name: secret for name, secret in given if secret is not None}

    def _gateway(
        self, command: Sequence[str], plain: Mapping[str, str], board: Board, number: int, door: socket.socket
    ) -> GatewayProcess:
        told = self._for_gateway.model_copy(update={"gateway_number": number, "own_fd": door.fileno()})
        return GatewayProcess(
            self._loop,
            self._log,
            command,
            {**without_vendors_keys(plain), **told.environment(), **self._secret()},
            [self._port.fileno(), self._internal.fileno(), door.fileno(), self._board_fd],
            number,
            lambda: board.bury(number),
        )

    def _complete(self, spec: ServiceSpec, order: Order) -> Order:
        return replace(
            order,
            data=str(self._settings.data),
            database_url=self._settings.database_url,
            gateway=str(self._door),
            seals=(spec.seals or spec.signs) is not None,
            vendors_keys=spec.vendors_keys,
            log_level=self._settings.log_level,
        )

    @property
    def _signing_age(self) -> float:
        return self._settings.signing_key_days * 24 * 3600

    def _look_at_signing_key(self) -> None:
        """Let a signing key that is old enough give way, and unpublish those that hold no longer."""
        try:
            self._masters.prune()
            self._signing.ensure(self._signing_age)
        except (TauseError, StartError) as error:
            self._log.error("the keys can't give way", reason=str(error))
        self._loop.after(LOOK_SECONDS, self._look_at_signing_key)

    def _note_workers(self) -> None:
        """Let the gateways tell how many processes work on runs: none is no harm where there is nothing to do."""
        workers = [instance for instance in self._instances if instance.spec.worker]
        self._board.work(sum(each.pid is not None for each in workers), len(workers))

    def _wake_workers(self) -> None:
        """Start the services that have work, also once an import has brought it; on PostgreSQL other machines may.

        Not before the stack is ready: what they import would slow its start.
        """
        for instance in self._instances:
            own = self._settings.data / "tenants" / SYSTEM_TENANT / f"{instance.spec.name}.db"
            idle = instance.spec.worker and instance.state == "stopped"
            if idle and (self._settings.database_url is not None or has_work(own, instance.spec.work)):
                self._instances.start(instance)
        self._loop.after(WORK_SECONDS, self._wake_workers)

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        """Have signals wake the loop, for as long as the stack runs."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
            before = [signal.signal(number, self._signalled) for number in numbers]
            previous = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
            self._loop.watch(ours, lambda: self._woken(ours))
            try:
                yield
            finally:
                signal.set_wakeup_fd(previous)
                for number, handler in zip(numbers, before, strict=True):
                    signal.signal(number, handler)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._told_to_stop += 1

    def _woken(self, source: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while source.recv(4096):
                continue
        self._reap()

    def _reap(self) -> None:
        found = False
        while (dead := _next_dead()) is not None:
            self._nurseries.hear()  # each reports before it can end; how a fork server ended is still to be seen
            pid, code = dead
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # before it is reaped: its id, and so its group's, is still its own
            os.waitpid(pid, 0)
            found = self._instances.exited(pid, code) or self._gateways.exited(pid, code) or found
        if found:
            self._sweep()

    def _sweep(self) -> None:
        """Kill what a dead process left behind: nothing of it outlives it, in whatever group or session it is."""
        if not self._nurseries.settled:
            self._loop.after(SWEEP_SECONDS, self._sweep)
            return
        known = {instance.pid for instance in self._instances} | self._nurseries.pids | self._gateways.pids
        for pid in children():
            if pid not in known:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _modules(specs: Iterable[ServiceSpec]) -> list[str]:
    return [spec.module.partition(":")[0] for spec in specs]


def _be_nursery(channel: socket.socket, environment: Mapping[str, str], modules: Sequence[str]) -> NoReturn:
    """In the process that was split off: forget the master secret, and be the fork server."""
    os.environ.clear()
    os.environ.update(environment)
    from tausestack_runtime.supervisor.nursery import serve_births  # brings what only a fork server needs

    serve_births(channel, os.getppid(), modules)


def _next_dead() -> tuple[int, int] | None:
    """Return a dead child, not yet reaped, and its exit code or the negative signal that killed it."""
    try:
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if dead is None:
        return None
    return dead.si_pid, dead.si_status if dead.si_code == os.CLD_EXITED else -dead.si_status
