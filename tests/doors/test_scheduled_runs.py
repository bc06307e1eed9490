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


@pytest.mark.covers("agents:schedules")
def test_a_schedule_that_is_not_there_is_not_changed_and_what_is_no_time_is_no_page(tenant: Tenant) -> None:
    whole = {"agent": "concierge", "cron": "0 9 * * *", "input": "x"}
    for body in ({"cron": "0 9 * * *"}, {"enabled": False}, whole, {}):
        assert tenant.client.patch("/schedules/none", json=body).status_code == 404, body
    assert tenant.client.get("/schedules").json() == {"schedules": []}
    tenant.client.post("/schedules", json={"name": "daily", **whole})
    changed = tenant.client.patch("/schedules/daily", json={"cron": "0 8 * * *"})
    assert (changed.status_code, changed.json()["cron"]) == (200, "0 8 * * *")
    for path in ("/threads", "/threads/t1"):
        refused = tenant.client.get(path, params={"before": "x"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_arguments"), refused.text
    assert tenant.client.get("/threads?before=2026-11-20T09:30:00+00:00").status_code == 200
    described = tenant.client.get("/openapi.json").json()["paths"]
    body = described[f"/api/v2/tenants/{tenant.name}/schedules/{{name}}"]["patch"]["requestBody"]["content"]
    assert "existing" not in body["application/json"]["schema"]["properties"]
