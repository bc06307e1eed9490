"""What the supervisor asks of a fork server, and what comes back: one JSON packet each, a socket beside it."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass

MAX_PACKET = 65536


@dataclass(frozen=True, slots=True)
class Order:
    """A process to be forked: a service, or a fork server, that serves the socket sent along."""

    id: int
    name: str
    module: str = ""
    """`package.module:attribute` of a service's kit `Server`."""
    bears: Sequence[str] = ()
    """Modules that a further fork server imports, which is what it is to be in that case."""
    data: str = ""
    database_url: str | None = None
    gateway: str | None = None
    process_credential: str | None = None
    tenant: str | None = None
    vendors_keys: bool = False
    """Whether it keeps the operator's credentials of vendors in its environment."""
    seals: bool = False
    """Whether it may ask for the keys that it seals or signs with."""
    log_level: str = "info"


def send_order(channel: socket.socket, order: Order, passed: socket.socket) -> None:
    """Send an order and its socket."""
    socket.send_fds(channel, [json.dumps(asdict(order)).encode()], [passed.fileno()])


def receive_order(channel: socket.socket) -> tuple[Order, socket.socket] | None:
    """Return the next order and its socket, or None when the supervisor is gone."""
    packet, descriptors, _flags, _address = socket.recv_fds(channel, MAX_PACKET, 1)
    if not packet:
        return None
    fields = json.loads(packet)
    return Order(**fields), socket.socket(fileno=descriptors[0])


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to an order: the new process's id, or why there is none."""

    id: int
    pid: int | None = None
    error: str | None = None
    killed: bool = False
    """Whether there is none since the fork server was killed from outside: the order is not to blame."""


def send_report(channel: socket.socket, report: Report) -> None:
    """Send a report."""
    channel.send(json.dumps(asdict(report)).encode())


def receive_report(channel: socket.socket) -> Report | None:
    """Return the next report, or None when the fork server is gone."""
    packet = channel.recv(MAX_PACKET)
    return Report(**json.loads(packet)) if packet else None
