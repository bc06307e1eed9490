"""Tasks whose process dies, or is told to stop, or shares its database with others."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from task_clients import Client
from tausestack_runtime.supervisor.linux import connections

pytestmark = pytest.mark.timeout(300)
ALONE = {"JOBS_SILENCE_MS": "500"}
"""For processes of which only one is alive at a time: a dead one need not be silent for long."""
SURE = {"action": "accept", "content": {"sure": True}}


@pytest.fixture
def acme(job_processes: Any) -> Client:
    """A client of a tenant, of processes of the test's own."""
    return Client(job_processes, "acme")


@pytest.mark.covers("tasks:durable")
def test_a_task_whose_process_is_killed_is_gone_on_with_by_the_next_and_writes_once(acme: Client) -> None:
    process = acme.processes.over_socket(**ALONE)
    globex = replace(acme, tenant="globex")
    ours, theirs = acme.begin("recount", {"shelf": "a"}), globex.begin("recount", {"shelf": "g"})
    for times in (1, 2):
        for client in (acme, globex):
            client.open("recount")
            # Nobody asks: the next process finds them by itself.
            client.reached("written", times)
        process.kill()
        process.wait()
        process = acme.processes.over_socket(**ALONE)
    for client, task, shelf in ((acme, ours, "a"), (globex, theirs, "g")):
        client.open("written")
        assert client.until(task, "completed")["result"]["structuredContent"] == {"shelf": shelf, "count": 1}
        assert client.done() == [shelf]


@pytest.mark.covers("tasks:durable", "tasks:in-doubt")
def test_results_and_answers_outlive_a_kill_and_what_nobody_may_repeat_ends_in_doubt(acme: Client) -> None:
    process = acme.processes.over_socket(**ALONE)
    acme.open("recount", "written")
    finished, asking = acme.begin("recount", {"shelf": "a"}), acme.begin("clear", {"shelf": "b"})
    charging = acme.begin("charge", {"amount": 7})
    ended = acme.until(finished, "completed")
    acme.until(asking, "input_required")
    acme.update(asking, input=SURE)
    acme.reached("between")
    acme.reached("charge")
    process.kill()
    process.wait()
    acme.open("between", "charge")
    acme.processes.over_socket(**ALONE)
    assert acme.get(finished) == ended
    failed = acme.until(charging, "failed")
    assert failed["error"]["data"]["code"] == "in_doubt"
    assert "may or may not" in failed["statusMessage"]
    acme.processes.wait_for(lambda: list(acme.get(asking).get("inputRequests", {})) == ["input-2"])
    acme.update(asking, **{"input-2": SURE})
    assert acme.until(asking, "completed")["result"]["structuredContent"] == {"result": "cleared 1"}
    assert (acme.processes.data / "acme-charge.reached").read_text() == "reached\n"


@pytest.mark.covers("tasks:durable")
def test_a_process_that_is_told_to_stop_leaves_its_tasks_to_the_next(acme: Client) -> None:
    process = acme.processes.over_socket()
    task = acme.begin("recount", {"shelf": "a"})
    acme.reached("recount")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    acme.open("recount", "written")
    acme.processes.over_socket()
    assert acme.until(task, "completed")["result"]["structuredContent"] == {"shelf": "a", "count": 1}


@pytest.mark.covers("tasks:several-processes")
def test_processes_that_share_a_database_answer_for_each_other_and_take_over_from_the_dead(
    acme: Client, postgres_url: str
) -> None:
    shared = {"TAUSESTACK_DATABASE_URL": postgres_url, "JOBS_SILENCE_MS": "3000"}
    first = acme.processes.over_socket(**shared)
    there = replace(acme, path=acme.processes.data / "other.sock")
    acme.processes.over_socket(there.path, **shared)
    asking, counting, stopping = (
        acme.begin("clear", {"shelf": "a"}),
        acme.begin("recount", {"shelf": "b"}),
        acme.begin("recount", {"shelf": "c"}),
    )
    acme.open("between")
    there.until(asking, "input_required")
    there.update(asking, input=SURE)
    acme.processes.wait_for(lambda: "input-2" in there.get(asking).get("inputRequests", {}))
    there.cancel(stopping)
    acme.until(stopping, "cancelled")
    assert there.get(counting)["status"] == "working"
    first.kill()
    first.wait()
    acme.open("recount", "written")
    assert there.until(counting, "completed")["result"]["structuredContent"] == {"shelf": "b", "count": 1}


@pytest.mark.covers("tasks:bounded")
def test_a_tenant_has_so_many_tasks_until_one_has_ended(acme: Client, refused: Any) -> None:
    acme.processes.over_socket(JOBS_RUNNING="2")
    first, _ = acme.begin("recount", {"shelf": "a"}), acme.begin("recount", {"shelf": "b"})
    with pytest.raises(refused) as answer:
        acme.call("recount", {"shelf": "c"})
    assert answer.value.error["data"]["code"] == "rate_limited"
    replace(acme, tenant="globex").begin("recount", {"shelf": "g"})
    acme.cancel(first)
    third = acme.begin("recount", {"shelf": "c"})
    acme.open("recount", "written")
    assert acme.until(third, "completed")["result"]["structuredContent"]["count"] == 1


@pytest.mark.covers("tasks:time-to-live")
def test_a_task_whose_time_is_over_is_gone_and_makes_room(acme: Client, refused: Any) -> None:
    acme.processes.over_socket(JOBS_RUNNING="1", JOBS_TTL_MS="1500")
    first = acme.begin("recount", {"shelf": "a"})

    def over() -> bool:
        try:
            acme.get(first)
        except refused as unknown:
            return unknown.error["code"] == -32602
        return False

    acme.processes.wait_for(over)
    acme.open("recount", "written")
    acme.begin("recount", {"shelf": "d"})
    acme.processes.wait_for(lambda: acme.done() == ["d"])


@pytest.mark.covers("tasks:awake")
def test_a_process_is_not_idle_while_a_task_runs_though_nobody_asks(acme: Client) -> None:
    acme.processes.over_socket()

    def connected() -> bool:
        return connections()[str(acme.processes.socket)] > 0

    acme.processes.wait_for(lambda: not connected())
    task = acme.begin("recount", {"shelf": "a"})
    acme.reached("recount")
    acme.processes.wait_for(connected)
    acme.cancel(task)
    acme.processes.wait_for(lambda: not connected())
