"""Clients that call while processes are killed, what they were told, and what the ledger has to tell of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2

from stack import Tenant

CONCURRENT = 64
WITHIN_SECONDS = 60.0
RECOVERY_SECONDS = 5.0
"""So long after a kill calls are answered again, at most."""
BUSY_SECONDS = 60.0
"""What a machine that is busy with other tests may take for that."""
STEPS: tuple[tuple[str, Callable[[int], dict[str, Any]], bool], ...] = (
    ("storage/put_json", lambda n: {"key": f"k{n % 50}", "value": {"n": n}}, True),
    ("storage/put_json", lambda n: {"key": f"u{n}", "value": {"n": n}}, False),
    ("storage/get_json", lambda n: {"key": f"k{n % 97}"}, False),
    ("billing/list_plans", lambda _: {}, False),
    ("billing/record_usage", lambda n: {"metric": f"m{n}", "quantity": 1}, False),
    ("storage/nothing", lambda _: {}, False),
)
"""What is called, with which arguments, and whether it bears an idempotency key."""


@dataclass
class Callers:
    """Clients that call over and over, and what each of their calls was answered, by its trace."""

    tenant: Tenant
    most: int
    answered: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """The HTTP status, and the code of a problem."""
    broken: set[str] = field(default_factory=set[str])
    """Calls whose connection broke: nobody knows."""
    recorded: set[str] = field(default_factory=set[str])
    """The usage that was acknowledged as recorded: as many as there are, each under a name of its own."""
    latest: float = 0.0
    """When a call was answered last by what it was sent to, and when one was that writes, in the clock's seconds."""
    written: float = 0.0
    begun: int = 0

    @property
    def over(self) -> bool:
        return len(self.answered) >= self.most

    async def run(self) -> None:
        limits = httpx2.Limits(max_connections=CONCURRENT)
        async with httpx2.AsyncClient(
            base_url=f"{self.tenant.url}/api/v2/tenants/{self.tenant.name}/tools",
            headers=self.tenant.headers,
            timeout=WITHIN_SECONDS,
            limits=limits,
            trust_env=False,
        ) as client:
            await asyncio.gather(*(self._call(client) for _ in range(CONCURRENT)))

    async def _call(self, client: httpx2.AsyncClient) -> None:
        while not self.over:
            self.begun += 1
            trace = f"{self.begun:032x}"
            address, arguments, keyed = STEPS[self.begun % len(STEPS)]
            key = {"Idempotency-Key": trace} if keyed else {}
            headers = {"traceparent": f"00-{trace}-{'1' * 16}-01", **key}
            try:
                reply = await client.post(f"/{address}", json=arguments(self.begun), headers=headers)
            except httpx2.TransportError:
                self.broken.add(trace)
                await asyncio.sleep(0.02)  # the port is there, and its gateway on its way
                continue
            if reply.status_code < 500:
                self.latest = time.monotonic()
            code = "" if reply.status_code == 200 else reply.json()["code"]
            self.answered[trace] = (reply.status_code, code)
            if reply.status_code == 200 and address == "billing/record_usage":
                self.recorded.add(f"m{int(trace, 16)}")
                self.written = self.latest


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)  # the poll of a condition with a deadline


def audited(tenant: Tenant) -> Iterator[dict[str, Any]]:
    """Yield the tenant's whole ledger, newest first."""
    before: dict[str, int] = {}
    while page := tenant.client.get("/audit", params={"limit": 500, **before}).raise_for_status().json()["entries"]:
        yield from page
        before = {"before": page[-1]["seq"]}


def check(tenant: Tenant, callers: Callers) -> None:
    """Compare what callers were told with what the ledger tells."""
    verified = tenant.client.get("/audit/verify").raise_for_status().json()
    assert (verified["ok"], verified["under_way"]) == (True, 0), verified
    entries = list(audited(tenant))
    ends = Counter(entry["trace"] for entry in entries if entry["kind"] in {"result", "denied"})
    outcomes = {entry["trace"]: entry["outcome"] for entry in entries if entry["kind"] in {"result", "denied"}}
    # While auth is away nobody knows who asks, and that nobody answers is all that there is to say.
    away = {502, 503, 504}
    unknown = {trace for trace, (status, _) in callers.answered.items() if status in away and trace not in ends}
    missing = {trace: told for trace, told in callers.answered.items() if ends[trace] != 1 and trace not in unknown}
    assert missing == {}, [(number, told) for told, number in Counter(missing.values()).items()]
    assert {trace: ends[trace] for trace in callers.broken if ends[trace] > 1} == {}
    expected = {"": "done", "in_doubt": "in_doubt", "not_found": "denied", "rate_limited": "denied"}
    told = {trace: expected.get(code, "failed") for trace, (_, code) in callers.answered.items() if trace in ends}
    assert {trace: (told[trace], outcomes[trace]) for trace in told if told[trace] != outcomes[trace]} == {}
    calls = Counter(entry["call"] for entry in entries if entry["kind"] in {"result", "denied"})
    assert [call for call, number in calls.items() if number > 1] == []
    intents = {entry["call"] for entry in entries if entry["kind"] == "intent"}
    assert intents <= calls.keys()
    usage = tenant.client.get("/usage").raise_for_status().json()
    assert usage["lines"] >= sum(1 for entry in entries if entry["kind"] == "result")
    assert sum(row["calls"] for row in usage["tools"]) == sum(row["calls"] for row in usage["days"]) == usage["lines"]
