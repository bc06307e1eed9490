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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import logs
from stack import free_port
from tausestack.errors import Unavailable
from tausestack_runtime.supervisor.control import ask

FAKES = Path(__file__).parents[2] / "fakes"
DEADLINE_SECONDS = 60.0


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
        number, name = tempfile.mkstemp(prefix="supervisor-", suffix=".log")
        self.log = logs.keep(Path(name))
        with os.fdopen(number, "wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, str(FAKES / "supervised_stack.py"), str(data), str(port)],
                env={
                    **os.environ,
                    "PYTHONPATH": f"{FAKES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                    **environment,
                },
                stderr=sink,
            )

    @property
    def run(self) -> Path:
        return self.data / "run"

    def socket(self, service: str) -> str:
        return str(self.run / f"{service}.sock")

    def get(self, service: str, target: str = "/probe/who", path: str | None = None) -> dict[str, Any]:
        """Return what a service answers, on a connection of its own; where nobody read what was asked, ask again.

        A process that stops may have taken the connection; the gateway sends again, too, what such a one left unread.
        """
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            connection = UnixConnection(path or self.socket(service))
            try:
                connection.request("GET", target)
                reply = connection.getresponse()
                return {"status": reply.status, **json.loads(reply.read())}
            except (BrokenPipeError, ConnectionResetError) as error:
                if isinstance(error, http.client.RemoteDisconnected) or time.monotonic() > deadline:
                    raise  # it was read
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

    def answers(self) -> bool:
        """Whether it takes questions: its socket is there a moment before."""
        try:
            self.ask("services")
        except Unavailable:
            return False
        return True

    def service(self, name: str) -> dict[str, Any]:
        return next(service for service in self.ask("services")["services"] if service["name"] == name)

    def stop(self) -> tuple[int, str]:
        """Tell it to stop, and return its exit code and what it logged."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end, and return its exit code and what it logged."""
        code = self.process.wait(timeout=DEADLINE_SECONDS)
        return code, self.log.read_text()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return what it has logged of an event so far."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [told for told in map(json.loads, lines) if told["event"] == event]


def until(what: Callable[[], Any]) -> Any:
    """Return the first truth of something, looked at until the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)  # the poll of a condition with a deadline
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs; a dead one that waits to be reaped doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


Launch = Callable[..., Stack]


@pytest.fixture
def wait_until() -> Callable[[Callable[[], Any]], Any]:
    return until


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return alive


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a data folder whose path is short enough for sockets, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="sup", dir="/tmp") as folder:
        yield Path(folder) / "data"


@contextmanager
def launcher(data: Path) -> Iterator[Launch]:
    """Give what starts supervisors, and take them down on leaving."""
    started: list[Stack] = []

    def start(folder: Path | None = None, *, port: int | None = None, wait: bool = True, **environment: str) -> Stack:
        stack = Stack(folder or data, free_port() if port is None else port, environment)
        started.append(stack)
        if wait:
            until(lambda: stack.answers() or stack.process.poll() is not None)
            assert stack.process.poll() is None, stack.ended()[1]
        return stack

    try:
        yield start
    finally:
        for stack in started:
            if stack.process.poll() is None:
                stack.process.send_signal(signal.SIGTERM)
                stack.process.send_signal(signal.SIGTERM)
                stack.process.wait(timeout=DEADLINE_SECONDS)
            stack.log.unlink()


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder of the test's own."""
    with short_folder() as folder:
        yield folder


@pytest.fixture
def launch(data: Path) -> Iterator[Launch]:
    """Starts supervisors, and takes them down after the test."""
    with launcher(data) as start:
        yield start


@pytest.fixture
def stack(launch: Launch) -> Stack:
    """A supervisor of the test's own."""
    return launch()


@pytest.fixture(scope="session")
def shared() -> Iterator[Stack]:
    """A supervisor that tests share: what they do to a service leaves it to the next as it was."""
    with short_folder() as folder, launcher(folder) as start:
        yield start()
