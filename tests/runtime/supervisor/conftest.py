"""A supervisor over fake services, as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tausestack_runtime.supervisor.control import ask

FAKES = Path(__file__).parents[2] / "fakes"
DEADLINE_SECONDS = 10.0


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=DEADLINE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_SECONDS)
        self.sock.connect(self._path)


class Stack:
    """What a test sees of a running supervisor."""

    def __init__(self, data: Path, port: int, environment: dict[str, str]) -> None:
        self.data, self.port = data, port
        self.process = subprocess.Popen(
            [sys.executable, str(FAKES / "supervised_stack.py"), str(data), str(port)],
            env={**os.environ, "PYTHONPATH": f"{FAKES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def run(self) -> Path:
        return self.data / "run"

    def socket(self, service: str) -> str:
        return str(self.run / f"{service}.sock")

    def get(self, service: str, target: str = "/probe/who", path: str | None = None) -> dict[str, Any]:
        """Return what a service answers, on a connection of its own."""
        connection = UnixConnection(path or self.socket(service))
        try:
            connection.request("GET", target)
            reply = connection.getresponse()
            return {"status": reply.status, **json.loads(reply.read())}
        finally:
            connection.close()

    def gateway(self, target: str = "/") -> dict[str, Any]:
        """Return what the gateway answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        try:
            connection.request("GET", target)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return ask(self.run / "control.sock", {"op": op, **fields})

    def service(self, name: str) -> dict[str, Any]:
        return next(service for service in self.ask("services")["services"] if service["name"] == name)

    def stop(self) -> tuple[int, str]:
        """Tell it to stop, and return its exit code and what it logged."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and what it logged."""
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, log


def until(what: Callable[[], Any]) -> Any:
    """Return the first truth of something, looked at until the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs; a dead one that waits to be reaped doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


Launch = Callable[..., Stack]


@pytest.fixture
def wait_until() -> Callable[[Callable[[], Any]], Any]:
    return until


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return alive


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder whose path is short enough for sockets, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="sup", dir="/tmp") as folder:
        yield Path(folder) / "data"


@pytest.fixture
def launch(data: Path) -> Iterator[Launch]:
    """Starts supervisors, and takes them down after the test."""
    started: list[Stack] = []

    def start(folder: Path | None = None, *, port: int | None = None, wait: bool = True, **environment: str) -> Stack:
        stack = Stack(folder or data, free_port() if port is None else port, environment)
        started.append(stack)
        if wait:
            until(lambda: (stack.run / "control.sock").exists() or stack.process.poll() is not None)
            assert stack.process.poll() is None, stack.ended()[1]
        return stack

    yield start
    for stack in started:
        if stack.process.poll() is None:
            stack.process.send_signal(signal.SIGTERM)
            stack.process.send_signal(signal.SIGTERM)
            stack.process.wait(timeout=30)
        assert stack.process.stderr is not None
        stack.process.stderr.close()


@pytest.fixture
def stack(launch: Launch) -> Stack:
    return launch()
