"""The gateway's process: serves the sockets that the supervisor hands it."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys

import uvicorn
import uvloop

from tausestack.telemetry import configure_logging
from tausestack_runtime.board import Board
from tausestack_runtime.gateway.accepting import GatewayServer
from tausestack_runtime.gateway.app import build
from tausestack_runtime.gateway.call import originate
from tausestack_runtime.gateway.http.connection import Connection
from tausestack_runtime.settings import SECRET_VARIABLES, StartError, read_settings
from tausestack_runtime.supervisor.linux import conceal

GRACE_SECONDS = 10


def main() -> int:
    """Serve until SIGTERM; calls in flight then have 10 s to end."""
    settings = read_settings()
    conceal((*SECRET_VARIABLES, "TAUSESTACK_DATABASE_URL"))
    given = (settings.listen_fd, settings.internal_fd, settings.own_fd)
    port, internal, own = (None if descriptor is None else socket.socket(fileno=descriptor) for descriptor in given)
    if port is None or internal is None or own is None or settings.board_fd is None:
        raise StartError("the gateway is started by 'tausestack up'")
    configure_logging(settings.log_level, "gateway" if settings.gateways == 1 else f"gateway-{settings.gateway_number}")
    originate(settings.gateway_number)
    # It preempts nobody: what it would be woken for gathers meanwhile, and is served from warmer caches.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    board = Board(settings.gateways, settings.board_fd)
    gateway = build(settings, board)
    server = GatewayServer(
        uvicorn.Config(
            gateway,
            http=Connection,
            interface="asgi3",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # who calls is said by a credential, never by an address
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE_SECONDS,
        ),
        board,
        settings.gateway_number,
        [port, internal],
        gateway,
    )
    gc.collect()
    gc.freeze()  # what is there now stays: without this the collector looks at all of it again and again
    gc.set_threshold(10_000, 20, 20)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[own]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StartError as error:
        sys.exit(f"tausestack: {error}")
