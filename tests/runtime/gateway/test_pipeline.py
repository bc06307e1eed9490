"""The pipeline's lines say what was decided, and nothing that was not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledgers import KEYS
from tausestack.contract import Principal
from tausestack.errors import Unavailable
from tausestack_runtime.gateway.call import Call, canonical, digest
from tausestack_runtime.gateway.metering import Meter
from tausestack_runtime.gateway.metrics import Metrics
from tausestack_runtime.gateway.pipeline import Pipeline
from tausestack_runtime.gateway.snapshots import Snapshots
from tausestack_runtime.ledger import Ledger, read_prices

pytestmark = pytest.mark.anyio

KEY = Principal("acme", "key:k1", frozenset({"tools:call"}), "developer")


class Auth:
    """auth and registry, which are away, or never answer."""

    def __init__(self) -> None:
        self.asked, self.hangs = asyncio.Event(), False

    async def __call__(self, service: str, tool: str, tenant: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.asked.set()
        if self.hangs:
            await asyncio.Event().wait()
        raise Unavailable("away")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    found = Ledger(tmp_path, KEYS)
    await found.start()
    yield found
    await found.close()


def pipeline(auth: Auth, ledger: Ledger) -> Pipeline:
    """Return a pipeline whose calls come no further than the question whether they are allowed."""
    beyond: Any = None
    snapshots = Snapshots(auth, [])
    return Pipeline(
        snapshots=snapshots,
        upstreams=beyond,
        approvals=beyond,
        meter=Meter(ledger, Metrics(), read_prices(None), snapshots),
    )


def call() -> Call:
    return Call("acme", KEY, "storage", "get_json", {}, "rest", deadline=asyncio.get_running_loop().time() + 60)


@pytest.mark.covers("pipeline:undecided")
async def test_a_call_that_nobody_could_decide_on_was_not_allowed(ledger: Ledger) -> None:
    with pytest.raises(Unavailable):
        await pipeline(Auth(), ledger).run(call())
    [line] = await ledger.audit("acme")
    assert (line["decision"], line["rule"], line["outcome"]) == ("", "", "failed")


@pytest.mark.covers("pipeline:undecided")
async def test_a_caller_that_goes_away_leaves_its_line(ledger: Ledger) -> None:
    auth = Auth()
    auth.hangs = True
    running = asyncio.create_task(pipeline(auth, ledger).run(call()))
    await auth.asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    [line] = await ledger.audit("acme")
    assert (line["decision"], line["outcome"]) == ("", "cancelled")


@pytest.mark.covers("ledger:digests")
async def test_what_was_digested_can_not_be_tried_by_who_reads_lines(ledger: Ledger) -> None:
    for tenant in ("acme", "bolt"):
        asked = call()
        asked.tenant, asked.arguments = tenant, {"password": "guess me"}
        with pytest.raises(Unavailable):
            await pipeline(Auth(), ledger).run(asked)
    [mine], [theirs] = await ledger.audit("acme"), await ledger.audit("bolt")
    assert mine["arguments_digest"] == ledger.mark("acme", canonical({"password": "guess me"}))
    assert mine["arguments_digest"] not in {digest({"password": "guess me"}), theirs["arguments_digest"]}
