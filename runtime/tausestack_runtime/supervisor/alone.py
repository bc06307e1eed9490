"""A worker alone: it works on agents' runs of a stack that is elsewhere, over the same PostgreSQL.

It is the agents' own process without a supervisor: it claims due runs from the shared table, and calls tools through
the stack's internal door, whose socket is brought here. Nobody calls it.
"""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
from pathlib import Path

from tausestack.telemetry import configure_logging
from tausestack_runtime.keys import Masters, worker_credential
from tausestack_runtime.services import SERVICES
from tausestack_runtime.settings import SECRET_VARIABLES, Settings, StartError
from tausestack_runtime.signing import JWKS_FILE

BESIDE_OTHERS = "2"
"""How many workers it takes there to be at least: it, and the stack's own."""


def work(settings: Settings, gateway: Path) -> None:
    """Work on runs until told to stop; `gateway` is the path of the stack's internal door. Raises `StartError`."""
    if settings.database_url is None:
        raise StartError("a worker alone needs the stack's PostgreSQL: give --database-url")
    if not gateway.is_socket():
        raise StartError(
            f"{gateway} is no socket: bring the stack's {{data}}/run/gateway.sock here (docs/operations.md)"
        )
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    credential = worker_credential(Masters.of(settings, make=False).current)
    for secret in SECRET_VARIABLES:
        os.environ.pop(secret, None)
    os.environ.update(settings.environment() | {"TAUSESTACK_WORKERS": BESIDE_OTHERS})
    configure_logging(settings.log_level, "worker")
    from tausestack.mcp import ServiceEnv, serve_socket  # brings the kit
    from tausestack.tokens import JwksFile

    spec = next(each for each in SERVICES if each.worker)
    module, _, attribute = spec.module.partition(":")
    server = getattr(importlib.import_module(module), attribute)
    env = ServiceEnv(
        data=settings.data,
        database_url=settings.database_url,
        jwks=JwksFile(settings.data / JWKS_FILE),
        gateway=str(gateway),
        process_credential=credential,
        log_level=settings.log_level,
        otlp_endpoint=settings.otlp_endpoint,
    )
    with tempfile.TemporaryDirectory(prefix="ts-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/worker.sock")
        listener.listen()
        serve_socket(server, listener, env)
