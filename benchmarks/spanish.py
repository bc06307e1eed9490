"""Requests in Spanish over fifteen installed servers: what the offline planner makes of them, and a model's whole path.

Run as `python -m benchmarks.spanish [--model offline|recorded|both] [--set tuning]`. The recorded model answers each
request with the calls that are expected of it, over the wire: what then goes wrong is ours, not a model's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from tausestack.client import Client
from tausestack.names import wire_name
from tausestack_runtime.evaluation.cases import Case, read
from tausestack_runtime.evaluation.judging import ANYTHING, Verdict, totals
from tausestack_runtime.evaluation.running import evaluate

REQUESTS = Path(__file__).parent / "data" / "spanish" / "requests.yaml"
BUSINESS = Path(__file__).parents[1] / "tests" / "fixtures" / "business"
NAMES = (
    "inventory", "shipping", "crm", "payroll", "calendar", "messages", "tickets", "tasks", "weather", "exchange",
)  # fmt: skip
OWN = ("colombia", "billing", "storage")
LEAST = 0.6
"""Which share of the requests has to become the calls that they mean."""
TENANT = "spanish"
WAIT_SECONDS = 60.0


def main() -> int:
    """Print what came of each request and the sums; return 1 for an unasked write, or too few that went right."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spanish")
    parser.add_argument("--model", choices=("offline", "recorded", "both"), default="both")
    parser.add_argument("--set", help="only requests of this set")
    given = parser.parse_args()
    cases = [case for case in read(REQUESTS).cases if given.set in (None, case.set)]
    missed = False
    for model in ("offline", "recorded") if given.model == "both" else (given.model,):
        print(f"## {model}: {len(cases)} requests, {len(NAMES) + len(OWN) + 4} servers")
        missed |= _report(measure(cases, model))
    return int(missed)


def measure(cases: Sequence[Case], model: str) -> list[Verdict]:
    """Return the verdicts on cases, in a stack of their own."""
    with tempfile.TemporaryDirectory(prefix="tsb", dir="/tmp") as folder:
        traffic = Path(folder) / "traffic.jsonl"
        traffic.write_text("".join(json.dumps(line) + "\n" for case in cases for line in recorded(case)), "utf-8")
        with business() as port, _stack(Path(folder) / "data", port, traffic) as (http, operator):
            key = _tenant(http, operator, port)
            return asyncio.run(_evaluated(cases, key, str(http.base_url), model))


def recorded(case: Case) -> Generator[dict[str, Any]]:
    """Yield the answers of a model that does what is expected: the plan, the calls, then a text."""
    plan = {"name": "final_result", "arguments": {"parts": [case.input]}}
    yield {"for": case.input, "answer": {"calls": [plan]}}
    calls = [
        {"name": wire_name(*call.tool.split("/")), "arguments": _filled(call.arguments)} for call in case.calls or []
    ]
    if calls:
        yield {"for": case.input, "answer": {"calls": calls}}
    yield {"for": case.input, "answer": {"text": "Listo." if calls else "No puedo hacer eso con las herramientas."}}


def _filled(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: ("2026-11-01" if name == "since" else "texto") if value == ANYTHING else value
        for name, value in arguments.items()
    }


async def _evaluated(cases: Sequence[Case], key: str, url: str, model: str) -> list[Verdict]:
    async with Client(TENANT, key, url) as client:
        return [verdict async for verdict in evaluate(client, "concierge", cases, model)]


def _report(verdicts: Sequence[Verdict]) -> bool:
    for verdict in verdicts:
        if not verdict.passed:
            print(f"- {verdict.set} {verdict.id}: {'; '.join(verdict.wrong)}")
    found = totals(verdicts)
    missed = found["unasked_writes"] > 0
    for name, sums in (found.get("sets") or {"all": found}).items():
        right = f"{sums['passed']} of {sums['cases']} right ({sums['accuracy']:.0%}, at least {LEAST:.0%})"
        print(f"{name}: {right}; right tools in {sums['tools']}; {sums['unasked_writes']} unasked writes (0)")
        missed |= sums["accuracy"] < LEAST
    return missed


@contextlib.contextmanager
def business(port: int | None = None) -> Generator[int]:
    """Run the business's servers, at a port or at one that is free, and give it."""
    port = port or _free_port()
    with subprocess.Popen([sys.executable, str(BUSINESS), str(port)], stderr=subprocess.DEVNULL) as process:
        try:
            _await(f"http://127.0.0.1:{port}/ready", process)
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def _stack(data: Path, business_port: int, traffic: Path) -> Generator[tuple[httpx2.Client, dict[str, str]]]:
    port = _free_port()
    command = [str(Path(sys.executable).with_name("tausestack")), "up", "--data", str(data), "--port", str(port)]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(data.parent),
        "TAUSESTACK_LOG_LEVEL": "error",
        "TAUSESTACK_ALLOWED_PRIVATE_HOSTS": f"127.0.0.1:{business_port}",
        "TAUSESTACK_RECORDED_TRAFFIC": str(traffic),
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            _await(f"http://127.0.0.1:{port}/health/ready", process)
            operator = {"Authorization": f"Bearer {(data / 'operator.key').read_text().strip()}"}
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS, trust_env=False) as http:
                yield http, operator
        finally:
            process.send_signal(signal.SIGTERM)


def _tenant(http: httpx2.Client, operator: dict[str, str], port: int) -> str:
    """Make a tenant with every server installed, and return its key."""
    made = http.post("/api/v2/tenants", headers=operator, json={"id": TENANT, "plan": "enterprise"})
    key = str(made.raise_for_status().json()["api_key"])
    headers = {"Authorization": f"Bearer {key}"}
    listed: Iterable[dict[str, Any]] = http.get(f"/api/v2/tenants/{TENANT}/servers", headers=headers).json()["servers"]
    here = {str(server["name"]) for server in listed}
    wanted = [(name, name) for name in OWN if name not in here]
    for ref, name in [*wanted, *((f"http://127.0.0.1:{port}/{name}/mcp", name) for name in NAMES)]:
        body = {"ref": ref, "name": name, "approve": True}
        reply = http.post(f"/api/v2/tenants/{TENANT}/servers", headers=headers, json=body)
        if reply.status_code != 201:
            raise SystemExit(f"{name} was not installed: {reply.text}")
    return key


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(url, trust_env=False, timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    raise SystemExit(f"{url} did not answer in {WAIT_SECONDS:g} s")


if __name__ == "__main__":
    raise SystemExit(main())
