"""What an attack on a running stack costs somebody else."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stack import Tenant

ATTACKER = Path(__file__).parents[1] / "fakes" / "attacker.py"


class Victim:
    """A tenant that calls one tool again and again over a connection of its own."""

    def __init__(self, tenant: Tenant) -> None:
        tenant.install("colombia")
        self._path = f"/api/v2/tenants/{tenant.name}/tools/colombia/format_nit"
        self._headers = {**tenant.headers, "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection(urlsplit(tenant.url).netloc, timeout=30)

    def call(self) -> float:
        """Return how many seconds a call took."""
        begun = time.perf_counter()
        self._connection.request("POST", self._path, json.dumps({"nit": "900123456"}), self._headers)
        reply = self._connection.getresponse()
        body = reply.read()
        assert reply.status == 200, body
        assert json.loads(body) == {"formatted": "900.123.456-8"}
        return time.perf_counter() - begun

    def latency(self, goes_on: Callable[[int, float], bool], share: float) -> float:
        """Return what so great a share of calls stayed within, made for as long as (calls, seconds) say so."""
        begun = time.perf_counter()
        found: list[float] = []
        while goes_on(len(found), time.perf_counter() - begun):
            found.append(self.call())
        return sorted(found)[int(len(found) * share)]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def cost(tenant: Tenant, attack: list[str], seconds: float, calls: int) -> dict[str, Any]:
    """Run an attacker and return what it says; a tenant's p99 stays within twice its quiet value, or 25 ms of it.

    Fewer than 1,000 calls measure nothing: their p90 has to stay within a second. The quiet value is the worse of one
    before and one after, since other work comes and goes.
    """
    victim = Victim(tenant)
    share = 0.99 if calls >= 1_000 else 0.9
    try:
        victim.latency(lambda made, _: made < 50, share)
        before = victim.latency(lambda made, _: made < calls, share)
        command = [sys.executable, str(ATTACKER), *attack]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attacker:
            under = victim.latency(lambda made, passed: made < calls or passed < seconds, share)
            said, _ = attacker.communicate(timeout=60)
        quiet = max(before, victim.latency(lambda made, _: made < calls, share))
    finally:
        victim.close()
    most = max(2 * quiet, quiet + 0.025) if calls >= 1_000 else 1.0
    assert under <= most, f"p{share * 100:.0f} {under * 1000:.1f} ms, quiet {quiet * 1000:.1f} ms"
    return json.loads(said)
