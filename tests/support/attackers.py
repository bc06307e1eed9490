"""What an attack on a running stack costs somebody else."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import figures
from stack import Stack, Tenant

MOST_GROWN_BYTES = 200_000_000
BUSY_SECONDS = 5.0
"""What a short attack may cost: on a machine that others keep busy too, only a standstill is seen."""
ATTACKER = Path(__file__).parents[1] / "fakes" / "attacker.py"


class Victim:
    """A tenant that calls one tool again and again over a connection of its own."""

    def __init__(self, tenant: Tenant) -> None:
        tenant.install("colombia")
        self._path = f"/api/v2/tenants/{tenant.name}/tools/colombia/format_nit"
        self._headers = {**tenant.headers, "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection(urlsplit(tenant.url).netloc, timeout=120)

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


class Watched:
    """Processes that are under attack: they live on, and do not grow."""

    def __init__(self, stack: Stack, adapter: str | None) -> None:
        told = stack.operator("GET", "doctor").json()
        hosts = [one for one in told["services"] if one["name"] == "adapter" and one["tenant"] == adapter]
        self.pids = [one["pid"] for one in (*told["gateways"], *hosts)]
        self._before = self._now()
        self.grown = 0
        """Bytes by which the one that grew most did so, at its worst moment."""

    def look(self) -> None:
        """Take note of what they are now; fails where one has ended."""
        self.grown = max(self.grown, *(now - before for now, before in zip(self._now(), self._before, strict=True)))

    def _now(self) -> list[int]:
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids]
        return [count * os.sysconf("SC_PAGE_SIZE") for count in pages]


def cost(
    stack: Stack, attack: list[str], seconds: float, calls: int, *, about: str, adapter: str | None = None
) -> dict[str, Any]:
    """Run an attacker and return what it says; another tenant's p99 stays within twice its quiet value, or 25 ms of it.

    Fewer than 1,000 calls measure nothing: their p90 has to stay within some seconds. The quiet value is the worse of
    one before and one after, since other work comes and goes. No gateway, nor the adapter host of the tenant that is
    named, starts anew or grows by 200 MB.
    """
    tenant = stack.tenant()
    # Where a call takes a millisecond, one caller makes as many within a minute as a plan has.
    assert stack.operator("PATCH", f"tenants/{tenant.name}/limits", json={"calls_per_minute": 1_000_000}).is_success
    victim = Victim(tenant)
    share = 0.99 if calls >= 1_000 else 0.9
    try:
        victim.latency(lambda made, _: made < 50, share)
        before = victim.latency(lambda made, _: made < calls, share)
        watched = Watched(stack, adapter)

        def goes_on(made: int, passed: float) -> bool:
            watched.look()
            return made < calls or passed < seconds

        command = [sys.executable, str(ATTACKER), *attack]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attacker:
            under = victim.latency(goes_on, share)
            said, _ = attacker.communicate(timeout=120)
        watched.look()
        after = victim.latency(lambda made, _: made < calls, share)
    finally:
        victim.close()
    quiet = max(before, after)
    told = (
        f"{about}: p{share * 100:.0f} {under * 1000:.1f} ms, quiet {before * 1000:.1f} ms before and"
        f" {after * 1000:.1f} ms after; grown {watched.grown / 1e6:.0f} MB; {said.decode().strip()}"
    )
    figures.tell(told)
    assert under <= (max(2 * quiet, quiet + 0.025) if calls >= 1_000 else BUSY_SECONDS), told
    assert watched.grown < MOST_GROWN_BYTES, told
    return json.loads(said)
