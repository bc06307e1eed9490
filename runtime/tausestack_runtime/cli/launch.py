"""A stack in a process of its own: started, waited for, stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2

from tausestack_runtime.cli.connection import Refusal
from tausestack_runtime.settings import Settings, read_settings
from tausestack_runtime.supervisor.ground import bind_port

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
STOP_SECONDS = 25.0
LOG_FILE = "stack.log"
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Launched:
    """A stack that was started here."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]

    def await_ready(self) -> bool:
        """Return True once it is ready, False when its process ended, or raise `Refusal` after a minute."""
        give_up = time.monotonic() + READY_SECONDS
        said = "nothing answers"
        with httpx2.Client(base_url=self.url, trust_env=False, timeout=10) as http:
            while time.monotonic() < give_up:
                try:
                    reply = http.get("/health/ready")
                    if reply.status_code == 200:
                        return True
                    said = reply.text[:200]
                except httpx2.TransportError as error:
                    said = str(error) or type(error).__name__
                if self._ended(POLL_SECONDS):
                    return False
        raise Refusal(f"the stack at {self.url} does not become ready ({said}): see its log")

    def wait(self) -> int:
        """Return its exit code once it ended."""
        return self.process.wait()

    def _ended(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextmanager
def launched(settings: Settings, log: IO[bytes] | None = None) -> Generator[Launched]:
    """Start a stack, and stop it at the end; Ctrl-C and SIGTERM end this process by way of the stack's clean stop.

    Raises `StartError` where its port is taken: whoever listens there is not asked whether the stack is ready.
    """
    bind_port(settings.host, settings.port).close()
    command = [sys.executable, "-P", "-m", "tausestack_runtime.cli", "up", "--with-parent"]
    environment = {**os.environ, "TAUSESTACK_DATABASE_URL": "", **settings.environment()}
    # A session of its own: Ctrl-C then reaches it once, from here, and not a second time from the terminal.
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 ourselves
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield Launched(_url(settings.host, settings.port), settings.data, process)
    finally:
        _stop(process)
        signal.signal(signal.SIGTERM, before)


@contextmanager
def own_stack(data: Path | None) -> Generator[Launched]:
    """Start a stack on a free port that is ready, in a data folder, else in a temporary one that is deleted.

    One in a temporary folder keeps all of it there: in the database of a lasting stack it would leave tenants, and
    take up that stack's runs. When what is done with it fails, the last lines of its log are shown.
    """
    folder = Path(tempfile.mkdtemp(prefix="tausestack-")) if data is None else data.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = read_settings(host="127.0.0.1", port=_free_port(), data=folder)
    if data is None:
        settings = settings.model_copy(update={"database_url": None, "gateways": 1, "workers": 1})
    path = folder / LOG_FILE
    try:
        with path.open("wb") as log, launched(settings, log) as stack:
            try:
                if not stack.await_ready():
                    raise Refusal("the stack ended before it was ready: the end of its log says why")
                yield stack
            except BaseException:
                _show_end(path)
                raise
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)


def _url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches an address that is listened on."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 compared with, not bound
    return f"http://{reached}:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _show_end(log: Path) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
    for line in lines:
        print(f"  log: {line}", file=sys.stderr)
