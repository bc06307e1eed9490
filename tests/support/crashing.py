"""Runs of agents under `kill -9`: the service and the door are processes; what took effect is counted at the sinks."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import secrets
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import benchmarks

from tausestack.contract import META_CALL, Principal
from tausestack.scopes import ROLES
from tausestack.tokens import Signer, server_audience
from tausestack_agents.failpoints import PLACES, VARIABLE

FAKES = Path(__file__).parents[1] / "fakes"
SINKS = Path(benchmarks.__file__).parent / "_rig" / "sinks.py"
START_SECONDS = 60.0
ENDED = {"success", "error", "timeout", "cancelled"}


def eventually(holds: Any, seconds: float = START_SECONDS) -> Any:
    """Wait until something is so, and return what it then is; fails where it does not become so in time."""
    give_up = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < give_up, f"not so within {seconds} s"
        select.select([], [], [], 0.01)
    return found


class Door:
    """The gateway's place: a process that can be killed and started anew, whose counts outlive it."""

    def __init__(self, folder: Path, milliseconds: int = 0) -> None:
        self.path = f"{folder}/gateway.sock"
        self._file = folder / "sinks.db"
        self._milliseconds = milliseconds
        self.start()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        Path(self.path).unlink(missing_ok=True)
        command = [sys.executable, str(SINKS), self.path, str(self._file), str(self._milliseconds)]
        self.process = subprocess.Popen(command)
        eventually(lambda: Path(self.path).exists())

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()

    def rows(self, table: str) -> list[tuple[str, str, str, str, float]]:
        """Return what is counted: address, run, key, arguments, time."""
        with contextlib.closing(sqlite3.connect(self._file)) as connection:
            return connection.execute(f"SELECT * FROM {table}").fetchall()


class Nursery:
    """A process that has imported the agents service, and forks it."""

    def __init__(self) -> None:
        known = {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir()}
        self._parent = subprocess.Popen(
            [sys.executable, str(FAKES / "agents_service.py")],
            env=known,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()

    def order(self, order: dict[str, Any]) -> str:
        """Send an order and return the answer."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with self._turn:
            self._parent.stdin.write(json.dumps(order) + "\n")
            self._parent.stdin.flush()
            return self._parent.stdout.readline()

    def close(self) -> None:
        """End the process."""
        self._parent.communicate(timeout=60)


@dataclass
class World:
    """The agents service over one data folder or database, and what it was asked to do."""

    nursery: Nursery
    door: Door
    folder: Path
    database_url: str | None = None
    signer: Signer = field(default_factory=lambda: Signer(secrets.token_bytes(32)))
    kills: int = 0
    starts: list[float] = field(default_factory=list[float])
    asked: dict[str, str] = field(default_factory=dict[str, str])
    """What was asked for, by idempotency key."""
    accepted: dict[str, str] = field(default_factory=dict[str, str])
    """Runs whose id was given out, by idempotency key."""
    repeated: Counter[str] = field(default_factory=Counter[str])
    """How often a person said, of which run, that a call in doubt be made again."""

    reached: Counter[str] = field(default_factory=Counter[str])
    """How often a process died at which place."""

    alive: list[Process] = field(default_factory=list["Process"])

    def __post_init__(self) -> None:
        principal = Principal("acme", "key:acme", ROLES["admin"], role="admin")
        self._assertion = self.signer.sign(principal, server_audience("agents"), 24 * 3600)

    @property
    def failpoint(self) -> Path:
        return self.folder / "failpoint"

    def start(self, name: str = "agents", **environ: str) -> Process:
        """Start a process of the service, and wait until it serves."""
        path = f"{self.folder}/{name}.sock"
        Path(path).unlink(missing_ok=True)
        self.starts.append(time.time())
        order = {
            "path": path,
            "data": str(self.folder / "data"),
            "database_url": self.database_url,
            "jwks": self.signer.jwks(),
            "gateway": self.door.path,
            "process": "process-credential",
            "environ": {VARIABLE: str(self.failpoint), **environ},
        }
        self.alive.append(Process(self, int(self.nursery.order(order)), path))
        return self.alive[-1]

    def end(self) -> None:
        """Kill every process that still lives, frozen or not."""
        for process in list(self.alive):
            process.die(0)

    def arm(self, place: str, number: int = signal.SIGKILL, *, skip: int = 0, of: str | None = None) -> None:
        """Have the process that next reaches a place (`of` a server) get a signal, after `skip` that passed it."""
        assert place in PLACES
        draft = self.failpoint.with_suffix(".draft")
        draft.write_text(json.dumps({"place": place, "of": of, "signal": number, "skip": skip}))
        draft.replace(self.failpoint)

    def resumed(self) -> str:
        """Tell how soon after a process was started it took up a run that another had begun."""
        minted = [(at, run) for address, run, _, _, at in self.door.rows("arrivals") if address == "platform/delegate"]
        took: list[float] = []
        for start, following in zip(self.starts, [*self.starts[1:], math.inf], strict=True):
            begun = {run for at, run in minted if at < start}
            took += sorted(at - start for at, run in minted if start <= at < following and run in begun)[:1]
        took.sort()
        return (
            f"taken up {took[len(took) // 2]:.2f} s after a start in the middle, {took[-1]:.2f} s at most ({len(took)})"
        )

    def call(self, path: str, tool: str, arguments: dict[str, Any], key: str | None = None) -> Any:
        """Call a tool at a process's socket and return its result; raises `Gone` or `Refused`."""
        meta: dict[str, Any] = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            META_CALL: secrets.token_hex(8),
            **({"pro.tause/idempotency-key": key} if key else {}),
        }
        headers = {
            "authorization": f"Bearer {self._assertion}",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": tool,
        }
        params = {"name": tool, "arguments": arguments, "_meta": meta}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        with contextlib.closing(_Connection(path)) as http:
            try:
                http.request("POST", "/mcp", body, headers)
                reply = http.getresponse()
                text = reply.read().decode()
            except (OSError, HTTPException) as error:
                raise Gone from error
        if (reply.headers["content-type"] or "").startswith("text/event-stream"):
            text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
        message = json.loads(text)
        if "error" in message or message["result"].get("isError"):
            raise Refused(text)
        return message["result"]["structuredContent"]


class _Connection(HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("agents", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


class Gone(Exception):
    """Nobody answered: the process is dead, or not there yet."""


class Refused(Exception):
    """The service refused a call."""


class Process:
    """One process of the service."""

    def __init__(self, world: World, pid: int, path: str) -> None:
        self.world = world
        self.pid = pid
        self.path = path

    def serves(self) -> bool:
        """Return whether it takes connections."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(self.path) == 0

    def call(self, tool: str, arguments: dict[str, Any], key: str | None = None) -> Any:
        """Call a tool of it."""
        return self.world.call(self.path, tool, arguments, key)

    def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        self.world.alive.remove(self)
        os.kill(self.pid, signal.SIGTERM)
        return int(self.world.nursery.order({"wait": self.pid}).removeprefix("- "))

    def die(self, after: float) -> None:
        """Wait for its death at a failpoint, and kill it after so many seconds at the latest."""
        self.world.alive.remove(self)
        self.world.nursery.order({"wait": self.pid, "after": after})
        self.world.kills += 1


def await_serving(process: Process, seconds: float = START_SECONDS) -> bool:
    """Wait until a process takes connections; False where it dies before."""
    give_up = time.monotonic() + seconds
    while not process.serves():
        if not Path(f"/proc/{process.pid}").exists():
            return False
        assert time.monotonic() < give_up
        select.select([], [], [], 0.01)
    return True


def request(name: str) -> str:
    """Return a request of four steps: one that keeps no key, two that keep it, and one that reads."""
    return (
        f'Record a visit of the patient "a-{name}". Then send a letter to the customer "c-{name}". '
        f'Then check the room "r-{name}". Then record a visit of the patient "b-{name}".'
    )


class Crowd:
    """Those who ask for runs and decide on them, while processes die; what got no answer is asked again."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.made = len(world.asked)

    def ask(self, process: Process, runs: int, *, until_asked: bool = False) -> None:
        """Start runs, and decide on those that wait; whatever breaks is left for the next time.

        `until_asked` waits until there is one that waits.
        """
        world = self.world
        with contextlib.suppress(Gone):
            if not await_serving(process):
                return
            for key in [key for key in world.asked if key not in world.accepted]:
                self._start(process, key)
            for _ in range(runs):
                self.made += 1
                key = f"k{self.made}"
                world.asked[key] = request(f"{self.made}")
                self._start(process, key)
            for run in eventually(lambda: self._waiting(process)) if until_asked else self._waiting(process):
                self._decide(process, run["id"])

    def _waiting(self, process: Process) -> list[dict[str, Any]]:
        return process.call("list_runs", {"status": "interrupted", "limit": 200})["runs"]

    def _start(self, process: Process, key: str) -> None:
        given = {"agent": "concierge", "input": self.world.asked[key]}
        self.world.accepted[key] = process.call("run", {"wait": 0, **given}, key)["id"]

    def _decide(self, process: Process, run: str) -> None:
        again = self.random.random() < 0.5
        if again:
            self.world.repeated[run] += 1  # before: it may take effect though the answer is lost
        with contextlib.suppress(Refused):  # it was decided on before, and that answer was lost
            process.call("resume", {"run": run, "decision": {"approve": again}, "wait": 0})


@contextmanager
def world(
    nursery: Nursery, folder: Path, database_url: str | None = None, *, milliseconds: int = 0
) -> Generator[World]:
    """Give a world, and end its door."""
    with tempfile.TemporaryDirectory(prefix="ts-") as short:  # a socket's path has to be
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (Path(short) / "data").symlink_to(folder / "data")
        door = Door(Path(short), milliseconds)
        here = World(nursery, door, Path(short), database_url)
        try:
            yield here
        finally:
            here.end()
            door.kill()
