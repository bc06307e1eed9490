"""Own code that ends its process ends its own run, and no other: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crashing import ENDED, Nursery, Process, World, await_serving, eventually, request, world

MODULES = {"TAUSESTACK_AGENT_MODULES": "poison_agents"}
ENDS = {
    "segfault": "SIGSEGV",
    "abort": "SIGABRT",
    "kill": "SIGKILL",
    "kill the group": "SIGKILL",
    "exit": "exit code 0",
}
DATABASES = pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgresql"])


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    with closing(Nursery()) as found:
        yield found


def serving(here: World, **environ: str) -> Process:
    process = here.start(**MODULES, **environ)
    assert await_serving(process)
    return process


def begun(process: Process, agent: str, asked: str) -> str:
    return process.call("run", {"agent": agent, "input": asked, "wait": 0})["id"]


def ended(process: Process, run: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        shown = process.call("get_run", {"run": run, "wait": 20})
        return shown if shown["status"] in ENDED else None

    return eventually(found, 60)


def apart(process: Process) -> list[int]:
    """Return the processes that the agents' process has own code run in."""

    def children(pid: int) -> list[int]:
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    servers = [child for first in children(process.pid) for child in children(first)]
    return [child for server in servers for child in children(server)]


@DATABASES
@pytest.mark.covers("durability:poison-runs")
@pytest.mark.timeout(240)
def test_runs_that_end_their_process_are_ended_after_three_times_and_no_other_run_hears_of_it(
    nursery: Nursery, tmp_path: Path, postgres: bool, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if postgres else None
    with world(nursery, tmp_path, url, milliseconds=50) as here:
        process = serving(here)
        poisoned = {how: begun(process, "poison", how) for how in ENDS}
        others = [begun(process, "gentle", f"g-{number}") for number in range(3)]
        others += [begun(process, "concierge", asked_for(f"{number}")) for number in range(3)]
        for run in others:
            found = ended(process, run)
            assert found["status"] == "success", found
        for how, run in poisoned.items():
            found = ended(process, run)
            assert (found["status"], found["error"]["code"]) == ("error", "agent_crashed"), found
            assert (found["error"]["agent"], found["error"]["deaths"]) == ("poison", 3)
            assert ENDS[how] in found["error"]["message"], found
            assert [step["status"] for step in found["steps"]] == ["done"]
        assert sorted({row[1] for row in here.door.rows("effects")} & set(poisoned.values())) == sorted(
            poisoned.values()
        )
        taken_up = [run for address, run, *_ in here.door.rows("arrivals") if address == "platform/delegate"]
        assert [taken_up.count(run) for run in others] == [1] * len(others)
        assert process.stop() == 0


def asked_for(name: str) -> str:
    return request(name).partition("Then send")[0]
