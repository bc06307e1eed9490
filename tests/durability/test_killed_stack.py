"""`kill -9` of a stack's own processes while runs go on through it: each ends, and what they write happens once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from remotes import eventually
from stack import Stack, Tenant, running
from tausestack.errors import Unavailable
from tausestack_runtime.supervisor.control import ask

VICTIMS = ("agents", "gateway", "billing", "storage", "registry", "auth")
KILLS, SOAK_KILLS = 18, 300
SECONDS_A_KILL = 0.8
"""Between two of them at most."""
CLIENTS = 3
UNITS = 3
CLERK = {
    "name": "clerk",
    "instructions": "Keep the books.",
    "tools": ["billing/record_usage", "storage/put_json", "storage/get_json"],
}
ENDED = {"success", "error", "timeout", "cancelled"}


def request(name: str) -> str:
    """Return a request of four steps, three of which write under keys."""
    return (
        f'Record a use of {UNITS} units of the metric "a-{name}". Then save {{"n": 1}} under the key "k-{name}".'
        f' Then read the key "k-{name}". Then record a use of {UNITS} units of the metric "b-{name}".'
    )


class Client(threading.Thread):
    """Starts one run after another, each asked for until it was accepted, and waits for its end."""

    def __init__(self, tenant: Tenant, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.tenant, self.number, self.stop = tenant, number, stop
        self.accepted: dict[str, str] = {}
        self.ended: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        while not self.stop.is_set():
            name = f"{self.number}-{len(self.accepted)}"
            self.accepted[name] = eventually(lambda name=name: self._accepted_run(name))["id"]
            self.ended[name] = eventually(lambda name=name: self._ended_run(name), 120)

    def _accepted_run(self, name: str) -> dict[str, Any] | None:
        body, key = {"agent": "clerk", "input": request(name)}, {"Idempotency-Key": name}
        return self._asked("POST", "/runs", json=body, headers=key)

    def _ended_run(self, name: str) -> dict[str, Any] | None:
        found = self._asked("GET", f"/runs/{self.accepted[name]}")
        return found if found is not None and found["status"] in {*ENDED, "interrupted"} else None

    def _asked(self, method: str, path: str, **more: Any) -> dict[str, Any] | None:
        """Return an answer; None where nobody was there to give one."""
        try:
            reply = self.tenant.client.request(method, path, **more)
        except httpx2.TransportError:
            return None
        if reply.status_code in {409, 502, 503, 504}:  # in doubt, or away
            return None
        assert reply.status_code < 300, reply.text
        return reply.json()


def kill_at_random(stack: Stack, kills: int, seed: int, stop: threading.Event) -> Counter[str]:
    """Kill one of the stack's processes after another, and return how many of each."""
    control = Path(stack.operator("GET", "doctor").json()["supervisor"]["run"]) / "control.sock"
    dice, killed = random.Random(seed), Counter[str]()
    while killed.total() < kills:
        stop.wait(dice.uniform(0, SECONDS_A_KILL))
        name = VICTIMS[killed.total() % len(VICTIMS)]
        with contextlib.suppress(Unavailable, ProcessLookupError):
            figures = ask(control, {"op": "services"})
            pids = [one["pid"] for one in (*figures["services"], *figures["gateways"]) if one["name"] == name]
            if pids[0] is not None:
                os.kill(pids[0], signal.SIGKILL)
        killed[name] += 1
    return killed


def runs_go_on(folder: Path, kills: int) -> None:
    """Kill processes of a stack under runs, and compare what these say with what their services count."""
    with running(folder / "data") as stack:
        tenant = stack.tenant(plan="premium")
        assert tenant.client.post("/agents", json=CLERK).status_code == 201
        stop = threading.Event()
        clients = [Client(Tenant(tenant.name, tenant.key, tenant.url), number, stop) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        eventually(lambda: all(client.ended for client in clients))
        killed = kill_at_random(stack, kills, 5, threading.Event())
        stop.set()
        for client in clients:
            client.join(180)
        usage = eventually(lambda: _usage(tenant))
        verified = tenant.client.get("/audit/verify").json()
    runs = {name: run for client in clients for name, run in client.ended.items()}
    statuses = Counter(run["status"] for run in runs.values())
    print(f"\n{dict(killed)} killed, {len(runs)} runs: {dict(statuses)}")
    assert verified["ok"] is True
    assert [client.accepted.keys() for client in clients] == [client.ended.keys() for client in clients]
    assert set(statuses) == {"success"}, [run for run in runs.values() if run["status"] != "success"]
    assert {step["status"] for run in runs.values() for step in run["steps"]} == {"done"}
    assert {len(run["steps"]) for run in runs.values()} == {4}
    assert usage == {f"{which}-{name}": UNITS for name in runs for which in "ab"}


def _usage(tenant: Tenant) -> dict[str, int] | None:
    reply = tenant.call("billing/get_usage", {})
    return {one["metric"]: one["quantity"] for one in reply.json()["usage"]} if reply.status_code == 200 else None


@pytest.mark.covers("durability:stack")
@pytest.mark.timeout(400)
def test_runs_go_on_whichever_process_of_the_stack_is_killed(tmp_path: Path) -> None:
    runs_go_on(tmp_path, KILLS)


@pytest.mark.soak
@pytest.mark.covers("durability:stack-soak")
def test_three_hundred_kills_of_a_stacks_processes_lose_and_repeat_nothing(tmp_path: Path) -> None:
    runs_go_on(tmp_path, SOAK_KILLS)
