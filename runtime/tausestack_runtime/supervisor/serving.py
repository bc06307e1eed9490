"""A service's process, from its order to its end."""

from __future__ import annotations

import importlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tausestack.telemetry import configure_logging
from tausestack_runtime.services import control_socket
from tausestack_runtime.settings import without_vendors_keys
from tausestack_runtime.supervisor.linux import conceal
from tausestack_runtime.supervisor.orders import Order

if TYPE_CHECKING:
    from tausestack.database import Schema
    from tausestack.sealing import Masters


def serve(order: Order, listener: socket.socket) -> int:
    """Serve an order's module on its socket until told to stop, and return the exit code."""
    # After the fork server has imported them, not before.
    from tausestack.mcp import Server, ServiceEnv, serve_socket
    from tausestack.tokens import JwksFile
    from tausestack_runtime.signing import JWKS_FILE

    configure_logging(order.log_level, order.name)
    if not order.vendors_keys:
        left = without_vendors_keys(os.environ)
        conceal(os.environ.keys() - left.keys())
        for variable in os.environ.keys() - left.keys():
            del os.environ[variable]
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    name, _, attribute = order.module.partition(":")
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
        jwks=JwksFile(Path(order.data) / JWKS_FILE),
        gateway=order.gateway,
        process_credential=order.process_credential,
        tenant=order.tenant,
        masters=_keys(order, "sealing_keys") if order.seals else None,
        digest_keys=None if order.gateway is None else _keys(order, "digest_keys"),
        log_level=order.log_level,
        otlp_endpoint=os.environ.get("TAUSESTACK_OTLP_ENDPOINT") or None,
    )
    if env.database_url is None and server.schema is not None:
        _make_template(server.schema, env.data)
    serve_socket(server, listener, env)
    return 0


def _keys(order: Order, operation: str) -> Masters:
    """Return what asks the supervisor, which knows this process by its credential, for the keys of now."""
    from tausestack_runtime.supervisor.control import ask

    assert order.gateway is not None
    control = control_socket(Path(order.gateway).parent)

    def live() -> dict[str, bytes]:
        found = ask(control, {"op": operation, "credential": order.process_credential})
        return {master: bytes.fromhex(key) for master, key in found["keys"].items()}

    return live


def _make_template(schema: Schema, data: Path) -> None:
    """Have a fork make a missing template: what Alembic takes, some 12 MB, is given back when it ends.

    Where it fails, the service makes the template when it needs it, and says what is wrong.
    """
    from tausestack.database.files import make_template, template_file

    if template_file(schema, data).exists():
        return
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    maker = os.fork()
    if maker:
        os.waitpid(maker, 0)
        return
    try:
        make_template(schema, data)
    except Exception:
        log.exception("the template can't be made ahead", service=schema.service)
    finally:
        os._exit(0)
