"""A schedule's run on the real stack: it may do what whoever saved the schedule may do."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stack import Tenant

TICK_SECONDS = 150.0


@pytest.mark.soak
@pytest.mark.covers("agents:schedules")
@pytest.mark.timeout(240)
def test_the_run_of_a_tick_has_the_tools_of_whoever_saved_the_schedule(tenant: Tenant) -> None:
    tenant.install("colombia")
    wanted = {"name": "minutely", "agent": "concierge", "cron": "* * * * *", "input": "Valida el NIT 900.123.456-8"}
    assert tenant.client.post("/schedules", json=wanted).status_code == 201
    run: dict[str, Any] = {"status": "none yet", "steps": []}
    deadline = time.monotonic() + TICK_SECONDS
    while run["status"] != "success" and time.monotonic() < deadline:
        schedule = tenant.client.get("/schedules/minutely").json()
        assert schedule["last_error"] is None
        if schedule["last_run"] is not None:
            run = tenant.client.get(f"/runs/{schedule['last_run']}").json()
        time.sleep(0.5)  # the poll of a condition with a deadline
    assert (run["status"], run["origin"]) == ("success", {"schedule": "minutely"})
    assert [(step["tool"], step["status"]) for step in run["steps"]] == [("validate_nit", "done")]
