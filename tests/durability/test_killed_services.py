"""`kill -9` under steady calls: reads and keyed writes never fail, nothing is applied twice, doubt is said."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stack import Stack, Tenant, running

KILLS = 50
SOAK_KILLS = 1_000
SECONDS_A_KILL = 5
CLIENTS = 8


class Caller(threading.Thread):
    """One client that writes with a key, reads, and writes without a key, over and over."""

    def __init__(self, tenant: Tenant, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.tenant, self.number, self.stop = tenant, number, stop
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []
        self.keyed: list[str] = []
        self.unkeyed: dict[str, str] = {}

    def run(self) -> None:
        n = 0
        while not self.stop.is_set():
            n += 1
            self._keyed(f"c{self.number}-{n}")
            self._read()
            self._unkeyed(f"u{self.number}-{n}")

    def _keyed(self, name: str) -> None:
        reply = self.tenant.call("billing/record_usage", usage(name), key=name)
        self._note("keyed", reply.status_code, reply.text)
        self.keyed.append(name)

    def _read(self) -> None:
        reply = self.tenant.call("billing/list_plans", {})
        self._note("read", reply.status_code, reply.text)

    def _unkeyed(self, name: str) -> None:
        reply = self.tenant.call("billing/record_usage", usage(name))
        code = "done" if reply.status_code == 200 else reply.json()["code"]
        self.unkeyed[name] = code
        self.outcomes[f"unkeyed {code}"] += 1

    def _note(self, kind: str, status: int, text: str) -> None:
        self.outcomes[f"{kind} {status}"] += 1
        if status != 200:
            self.failures.append(f"{kind}: {status} {text}")


def usage(name: str) -> dict[str, Any]:
    """Return a usage record whose metric is its name, so that its total tells how often it was applied."""
    return {"metric": name, "quantity": 1}


def kill_under_load(stack: Stack, kills: int) -> list[Caller]:
    """Kill billing again and again while clients call it; return the clients."""
    tenant = stack.tenant()
    stop = threading.Event()
    tenant.must("billing/list_plans", {})
    callers = [Caller(Tenant(tenant.name, tenant.key, tenant.url), n, stop) for n in range(CLIENTS)]
    for caller in callers:
        caller.start()
    killed: set[int] = set()
    deadline = time.monotonic() + kills * SECONDS_A_KILL
    while len(killed) < kills and time.monotonic() < deadline:
        pid = stack.services()["billing"].get("pid")
        if pid and pid not in killed and all(caller.outcomes.total() > len(killed) for caller in callers):
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    stop.set()
    for caller in callers:
        caller.join(60)
    assert len(killed) == kills
    return callers


@pytest.mark.covers("durability:kill-reads-and-keyed-writes", "durability:kill-in-doubt")
@pytest.mark.timeout(400)
def test_fifty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    nothing_is_lost_or_repeated(tmp_path, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.covers("durability:soak")
def test_a_thousand_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    nothing_is_lost_or_repeated(tmp_path, SOAK_KILLS)


def nothing_is_lost_or_repeated(folder: Path, kills: int) -> None:
    """Kill billing under load, and compare what callers were told with what was applied."""
    with running(folder / "data") as stack:
        callers = kill_under_load(stack, kills)
        tenant = callers[0].tenant
        totals = {one["metric"]: one["quantity"] for one in tenant.must("billing/get_usage", {})["usage"]}
        assert tenant.client.get("/audit/verify").json()["ok"] is True
    assert [failure for caller in callers for failure in caller.failures] == []
    keyed = [name for caller in callers for name in caller.keyed]
    assert len(keyed) > kills
    assert {name: totals.get(name) for name in keyed if totals.get(name) != 1} == {}
    unkeyed = {name: code for caller in callers for name, code in caller.unkeyed.items()}
    assert set(unkeyed.values()) <= {"done", "in_doubt"}
    assert {name for name, code in unkeyed.items() if code == "done" and totals.get(name) != 1} == set()
    assert {name for name, code in unkeyed.items() if totals.get(name, 0) > 1} == set()
