"""A pydantic-ai agent in a process apart: the deployment's model, journaled, streamed, and not asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from model_server import calls, says

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(170)]


@pytest.mark.covers("agents:own-apart")
async def test_an_agent_whose_process_died_in_a_function_asks_a_person_and_its_model_nothing_again(
    process: Any, model: Any, tmp_path: Path
) -> None:
    process.environ = {
        **model.environ(),
        "TAUSESTACK_AGENT_MODULES": "poison_agents",
        "POISON_FALLEN": str(tmp_path / "fallen"),
    }
    agents = await process.start()
    model.script = [calls("stumble", {}), says("La caja está cerrada.")]
    held = await agents.acme.run("¿Está abierta la caja?", agent="thinker")
    assert (held["status"], held["interrupt"]["kind"]) == ("interrupted", "decision"), held
    assert len(model.asked) == 1
    run = await agents.acme.call("resume", {"run": held["id"], "decision": {"approve": True}, "wait": 60})
    assert (run["status"], run["output"], len(model.asked)) == ("success", "La caja está cerrada.", 2), run
    events = await agents.events(run["id"])
    assert "".join(told["text"] for kind, told in events if kind == "token") == "La caja está cerrada."
    assert run["cost"]["model_calls"] == 2
