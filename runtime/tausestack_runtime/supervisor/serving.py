"""A service's process, from its order to its end."""

from __future__ import annotations

import importlib
import json
import socket
from pathlib import Path

import structlog

from tausestack.telemetry import configure_logging
from tausestack_runtime.supervisor.orders import Order


def serve(order: Order, listener: socket.socket) -> int:
    """Serve an order's module on its socket until told to stop, and return the exit code."""
    from tausestack.mcp import Server, ServiceEnv, serve_socket  # after the fork server has imported it, not before

    configure_logging(order.log_level, order.name)
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    name, _, attribute = str(order.module).partition(":")
    try:
        server = getattr(importlib.import_module(name), attribute)
    except Exception:
        log.exception("service can't be imported", module=name)
        return 1
    if not isinstance(server, Server):
        log.error("this is no tausestack.mcp.Server", module=order.module)
        return 1
    env = ServiceEnv(
        data=Path(order.data),
        database_url=order.database_url,
        jwks=json.loads(order.jwks),
        gateway=order.gateway,
        process_credential=order.process_credential,
        tenant=order.tenant,
        keys={key: bytes.fromhex(value) for key, value in order.keys.items()},
        log_level=order.log_level,
    )
    serve_socket(server, listener, env)
    return 0
