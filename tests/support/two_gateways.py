"""A stack with two gateways, for tests: each reached alone, scraped, killed, or kept away."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from stack import Stack, Tenant

WITHIN_SECONDS = 60.0


@dataclass
class Gateways:
    """A stack with two gateways, and a way to each of them alone."""

    stack: Stack
    superuser_url: str

    def figures(self) -> list[dict[str, Any]]:
        """Return what the supervisor knows of each gateway."""
        return self.stack.operator("GET", "doctor").json()["gateways"]

    def client(self, number: int) -> httpx2.Client:
        """Return a client of one gateway's own socket."""
        run = self.stack.operator("GET", "doctor").json()["supervisor"]["run"]
        transport = httpx2.HTTPTransport(uds=f"{run}/gateway-{number}.sock", verify=False)
        return httpx2.Client(transport=transport, base_url="http://localhost", timeout=60)

    def met_first(self, number: int, tenant: Tenant) -> Tenant:
        """Return a tenant whose calls meet one gateway first; its client is the caller's to close."""
        found = Tenant(tenant.name, tenant.key, tenant.url)
        found.client.close()
        found.client = self.client(number)
        found.client.base_url = f"http://localhost/api/v2/tenants/{tenant.name}"
        found.client.headers.update(tenant.headers)
        return found

    def scraped(self, name: str) -> dict[str, float]:
        """Return a metric's sum by gateway, as a scrape of the port tells it."""
        text = httpx2.get(f"{self.stack.url}/metrics", timeout=60, trust_env=False, verify=False).text
        found: dict[str, float] = {}
        for number, value in re.findall(rf'^{name}\{{[^}}]*gateway="(\d+)"[^}}]*\}} (\S+)$', text, re.MULTILINE):
            found[number] = found.get(number, 0) + float(value)
        return found

    def kill(self, number: int, how: signal.Signals = signal.SIGKILL) -> int:
        """End a gateway's process, and return its id."""
        pid = until(lambda: self._other_pid(number, None))
        os.kill(pid, how)
        return pid

    @contextlib.contextmanager
    def away(self, number: int) -> Iterator[None]:
        """Keep a gateway from serving: the process that comes after the killed one is held at its start."""
        for _ in range(10):
            killed = self.kill(number)
            new = until(lambda killed=killed: self._other_pid(number, killed))
            os.kill(new, signal.SIGSTOP)
            if self._figures_of(number)["connections"] is None:
                break
            os.kill(new, signal.SIGCONT)  # it was quicker than we
            until(self.all_serve)
        else:
            raise AssertionError("each time it served before it could be held")
        try:
            yield
        finally:
            os.kill(new, signal.SIGCONT)
            until(self.all_serve)

    def _figures_of(self, number: int) -> dict[str, Any]:
        return next(one for one in self.figures() if one["number"] == number)

    def _other_pid(self, number: int, known: int | None) -> int | None:
        pid = self._figures_of(number)["pid"]
        return None if pid == known else pid

    def all_serve(self) -> bool:
        """Whether each gateway takes connections."""
        return all(one["connections"] is not None for one in self.figures())


def until(what: Callable[[], Any]) -> Any:
    """Return the first truth of something, looked at until the deadline."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found
