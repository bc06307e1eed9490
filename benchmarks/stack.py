"""The stack from cold: start to ready, the first call to each cold service, memory with three services started.

Run as `python -m benchmarks.stack [RUNS]`; each run has a new data folder, so templates are made anew too, and then
starts once more on the same one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

RUNS = 3
WAIT_SECONDS = 30.0
TENANT = "bench"
FIRST_CALLS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("storage", "list_keys", {}),
    ("billing", "list_plans", {}),
    ("colombia", "validate_nit", {"nit": "900.123.456-8"}),
    ("agents", "list_agents", {}),
)
READY_BOUND, COLD_BOUND, AGENTS_BOUND, MEMORY_BOUND = 3.0, 0.3, 1.5, 300


@dataclass
class Figures:
    """What one benchmark measured: seconds by name, and megabytes."""

    seconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    megabytes: list[float] = field(default_factory=list[float])

    def add(self, name: str, seconds: float) -> None:
        """Note one measurement."""
        self.seconds.setdefault(name, []).append(seconds)


def measure(runs: int = RUNS) -> Figures:
    """Return the figures of some runs on this machine."""
    figures = Figures()
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="tsb", dir="/tmp") as folder:
            data = Path(folder) / "data"
            with _stack(data, figures, "ready, new data folder") as http:
                _first_calls(http, data, figures)
            with _stack(data, figures, "ready, second start") as http:
                _memory(http, data, figures)
    return figures


def report(figures: Figures) -> bool:
    """Print the figures with their bounds, and return whether the worst of each is within its own."""
    good = True
    for name, seconds in figures.seconds.items():
        good &= _line(name, seconds, _bound(name), "s", 3)
    return _line("PSS, three services, idle", figures.megabytes, MEMORY_BOUND, "MB", 0) and good


def _bound(name: str) -> float | None:
    if name.startswith("warm"):
        return None
    return READY_BOUND if name.startswith("ready") else AGENTS_BOUND if "agents" in name else COLD_BOUND


def _line(name: str, values: list[float], bound: float | None, unit: str, digits: int) -> bool:
    limit = "" if bound is None else f"   bound {bound:g} {unit}"
    middle, worst = statistics.median(values), max(values)
    print(f"{name:28} median {middle:8.{digits}f} {unit}   worst {worst:8.{digits}f} {unit}{limit}")
    return bound is None or worst <= bound


@contextlib.contextmanager
def _stack(data: Path, figures: Figures, name: str) -> Generator[httpx2.Client]:
    """Start a stack, note how long it took to be ready, and stop it after use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("tausestack")), "up", "--data", str(data), "--port", str(port)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(data.parent), "TAUSESTACK_LOG_LEVEL": "warning"}
    began = time.monotonic()
    with subprocess.Popen(command, env=environment) as process:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS, trust_env=False) as http:
                _await_ready(http, process)
                figures.add(name, time.monotonic() - began)
                yield http
        finally:
            process.send_signal(signal.SIGTERM)


def _await_ready(http: httpx2.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if http.get("/health/ready").status_code == 200:
                return
        time.sleep(0.01)
    raise SystemExit("the stack did not become ready: its log says why")


def _first_calls(http: httpx2.Client, data: Path, figures: Figures) -> None:
    """Make a tenant, which starts auth and registry, and time the first and the second call to each other service."""
    key = _made_tenant(http, data, figures)
    for server, tool, arguments in FIRST_CALLS:
        for name in (f"cold call, {server}", f"warm call, {server}"):
            began = time.monotonic()
            _call(http, key, server, tool, arguments)
            figures.add(name, time.monotonic() - began)


def _memory(http: httpx2.Client, data: Path, figures: Figures) -> None:
    """Start auth and registry by asking for the tools, and storage by a call; then weigh everything."""
    key = http.post(f"/api/v2/tenants/{TENANT}/session", headers=_operator(data)).raise_for_status().json()["token"]
    _call(http, key, "storage", "list_keys", {})
    told = _figures(http, data)
    running = sorted(service["name"] for service in told["services"] if service["pid"])
    if running != ["auth", "registry", "storage"]:
        print(f"not the three services that were meant: {', '.join(running)}")
    figures.megabytes.append(told["pss_bytes"] / 1024 / 1024)


def _made_tenant(http: httpx2.Client, data: Path, figures: Figures) -> str:
    began = time.monotonic()
    made = http.post("/api/v2/tenants", headers=_operator(data), json={"id": TENANT, "plan": "premium"})
    figures.add("cold call, auth", time.monotonic() - began)
    return str(made.raise_for_status().json()["api_key"])


def _call(http: httpx2.Client, key: str, server: str, tool: str, arguments: dict[str, Any]) -> None:
    path = f"/api/v2/tenants/{TENANT}/tools/{server}/{tool}"
    http.post(path, headers={"Authorization": f"Bearer {key}"}, json=arguments).raise_for_status()


def _figures(http: httpx2.Client, data: Path) -> dict[str, Any]:
    return http.get("/api/v2/doctor", headers=_operator(data)).raise_for_status().json()


def _operator(data: Path) -> dict[str, str]:
    return {"Authorization": f"Bearer {(data / 'operator.key').read_text().strip()}"}


def main() -> int:
    """Measure, print, and return 1 where a bound is broken."""
    return 0 if report(measure(int(sys.argv[1]) if sys.argv[1:] else RUNS)) else 1


if __name__ == "__main__":
    sys.exit(main())
