"""Running cases against a stack, one after the other."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from tausestack.client import Client
from tausestack.client.runs import Run
from tausestack.errors import DeadlineExceeded
from tausestack_runtime.evaluation.cases import Case
from tausestack_runtime.evaluation.judging import Verdict, judge

SECONDS = 300.0
"""How long one case may take."""
DECISIONS = 20
"""How many held calls of one run are turned down; a run that asks for more is cancelled."""
REASON = "This is an evaluation"


async def evaluate(client: Client, agent: str, cases: Sequence[Case], model: str) -> AsyncGenerator[Verdict]:
    """Run cases and yield the verdict on each. Calls that wait for a person are turned down: they count as called."""
    listed: list[dict[str, Any]] = await client.tools()
    effects = {str(tool["address"]): str(tool.get("side_effect", "write")) for tool in listed}
    round_of = secrets.token_hex(4)
    for case in cases:
        key = f"eval-{round_of}-{case.id}"
        run = await client.agents.run(agent, case.input, model=model, idempotency_key=key)
        yield judge(case, await _ended(client, run), effects)


async def _ended(client: Client, run: Run) -> Run:
    for _ in range(DECISIONS):
        try:
            run = await client.agents.wait(run.id, timeout=SECONDS)
        except DeadlineExceeded:
            break
        if run.status != "interrupted":
            return run
        run = await client.agents.resume(run.id, {"approve": False, "reason": REASON})
    return await client.agents.cancel(run.id)
