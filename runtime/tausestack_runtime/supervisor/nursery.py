"""A fork server: imports once what services need, then forks each of them in a few milliseconds.

The first is forked from the supervisor itself, so that they share memory; one that replaces it is run as
`python -m tausestack_runtime.supervisor.nursery CHANNEL SUPERVISOR MODULE…`. A fork goes by an intermediate process
that exits at once, so that the new process becomes the supervisor's own child: the supervisor is its only parent,
whichever fork server it came from. One that imports what only heavy services need is forked in the same way, and
shares all that this one has imported. Nothing here may start a thread: a lock held by one would stay locked in a fork.
"""

from __future__ import annotations

import gc
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import structlog

from tausestack.telemetry import configure_logging
from tausestack_runtime.supervisor.linux import await_parent, die_with_parent, name_process, thread_count
from tausestack_runtime.supervisor.orders import Order, Report, receive_order, send_report
from tausestack_runtime.supervisor.serving import serve

FIRST = (
    "tausestack.mcp",
    "tausestack.database",
    "tausestack.database.migrations",
    "tausestack.database.upgrade",
    "structlog",
    "joserfc.jwt",
    "sqlalchemy.dialects.sqlite",
    "uvloop",
    "uvicorn.main",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.lifespan.on",
    "mcp.server.streamable_http_manager",
    "anyio._backends._asyncio",
    "httpcore2",
    "uvicorn.loops.uvloop",
    "encodings.idna",
    "alembic.command",
)
"""What every service needs; the services' own modules come after, since importing one in a fork costs 8 MB."""


class Nursery:
    """Imports, then takes orders from the supervisor, one at a time."""

    def __init__(self, channel: socket.socket, supervisor: int, modules: Sequence[str]) -> None:
        self._channel = channel
        self._supervisor = supervisor
        self._modules = modules
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

    def run(self) -> NoReturn:
        """Serve until the supervisor is gone."""
        gc.disable()
        for module in self._modules:
            self._bring_in(module)
        gc.collect()  # once: it takes a tenth of a second, and what is born later finds nothing more to collect
        while True:
            received = receive_order(self._channel)
            if received is None:
                os._exit(0)
            self._bear(*received)

    def _bring_in(self, module: str) -> None:
        """Import a module; one that fails is left to the services that need it, which will say so themselves."""
        try:
            importlib.import_module(module)
        except Exception:  # noqa: BLE001 whatever a module's import raises must not take the fork server along
            self._log.exception("module can't be imported ahead", module=module)

    def _bear(self, order: Order, passed: socket.socket) -> None:
        if (threads := thread_count()) != 1:
            send_report(self._channel, Report(order.id, error=f"the fork server has {threads} threads: it can't fork"))
            passed.close()
            return
        gc.freeze()
        try:
            between = os.fork()
        except OSError as error:
            send_report(self._channel, Report(order.id, error=f"can't fork: {error.strerror}"))
            passed.close()
            return
        if between == 0:
            self._born(order, passed)
        passed.close()
        os.waitpid(between, 0)

    def _born(self, order: Order, passed: socket.socket) -> NoReturn:
        """In the intermediate process: fork once more and exit, so that the child falls to the supervisor."""
        code = 1
        try:
            code = 0 if os.fork() else self._live(order, passed)
        except OSError as error:
            send_report(self._channel, Report(order.id, error=f"can't fork: {error.strerror}"))
        except BaseException:  # noqa: BLE001 the fork must end here, never go on in the fork server's own loop
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _live(self, order: Order, passed: socket.socket) -> int:
        """In the child: settle as the supervisor's own, report, and do what was ordered."""
        os.setsid()
        await_parent(self._supervisor)
        die_with_parent(self._supervisor)
        name_process(order.name)
        send_report(self._channel, Report(order.id, pid=os.getpid()))
        self._channel.close()
        if order.bears:
            Nursery(passed, self._supervisor, order.bears).run()
        gc.enable()
        return serve(order, passed)


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the light fork server: arguments are its channel, the supervisor's process id, and further modules."""
    channel, supervisor = (int(argument) for argument in arguments[:2])
    serve_births(socket.socket(fileno=channel), supervisor, arguments[2:])


def serve_births(channel: socket.socket, supervisor: int, modules: Sequence[str]) -> NoReturn:
    """Be the light fork server, from here to the end of this process."""
    name_process("nursery")
    configure_logging(os.environ.get("TAUSESTACK_LOG_LEVEL", "info"), "nursery")
    Nursery(channel, supervisor, (*FIRST, *modules)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
