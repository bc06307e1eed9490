"""A worker alone: it works on agents' runs of a stack that is elsewhere, over the same PostgreSQL.

It is the agents' own process without a supervisor: it claims due runs from the shared table, and calls tools through
the stack's internal door, whose socket is brought here. Nobody calls it.
"""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
import time
from pathlib import Path

import httpx2
import structlog

from tausestack.errors import Unavailable
from tausestack.telemetry import configure_logging
from tausestack_runtime.keys import Masters, worker_credential
from tausestack_runtime.services import INSTALLATION, SERVICES
from tausestack_runtime.settings import SECRET_VARIABLES, Settings, StartError
from tausestack_runtime.signing import JWKS_FILE
from tausestack_runtime.supervisor.ground import check_database

BESIDE_OTHERS = "2"
"""How many workers it takes there to be at least: it, and the stack's own."""

DOOR_SECONDS = 30.0
"""How long the stack's door may be away when a worker starts in a folder that belongs to no stack yet."""
POLL_SECONDS = 0.2


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
    _belong(settings, settings.database_url, gateway)
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


def _belong(settings: Settings, url: str, gateway: Path) -> None:
    """Have the worker's folder belong to the stack's installation, and refuse a database that is another's."""
    from tausestack.database.mark import make_mark, own_mark

    own = own_mark(settings.data)
    stacks = _mark_behind(gateway, patience=DOOR_SECONDS if own is None else 0)
    if own is not None and stacks is not None and stacks != own:
        raise StartError(f"{settings.data} is the folder of another stack's worker: give another with --data")
    make_mark(settings.data, stacks)
    try:
        check_database(settings.data, url)
    except Unavailable as error:
        structlog.get_logger("worker").warning("the database can't be asked whose it is", reason=error.message)


def _mark_behind(gateway: Path, *, patience: float) -> str | None:
    """Return the mark of the stack behind a door, or None where that is away: a folder that was its own stays so.

    Raises `StartError` where it is away for longer than `patience`, in seconds, unless there is none.
    """
    give_up = time.monotonic() + patience
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(gateway)), timeout=5) as http:
        while True:
            try:
                reply = http.get(f"http://gateway{INSTALLATION}")
                if reply.status_code == 200:
                    if not reply.text:
                        raise StartError(f"the stack behind {gateway} keeps its data in files: its worker is its own")
                    return reply.text
                said = f"it answers {reply.status_code}"
            except httpx2.TransportError as error:
                said = str(error) or type(error).__name__
            if not patience:
                return None
            if time.monotonic() > give_up:
                raise StartError(f"the stack's door {gateway} does not say whose it is ({said}): is the stack running?")
            time.sleep(POLL_SECONDS)
