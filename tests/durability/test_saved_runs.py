"""Runs that an earlier release left behind go on in this one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import saved_runs
from crashing import ENDED, Nursery, Process, await_serving, eventually, world
from tausestack.contract import VERSION

WAIT = {"parked": "decision", "held": "approval", "paused": "pause"}
DECIDED: dict[str, dict[str, Any]] = {
    "parked": {"decision": {"approve": False}},
    "held": {"decision": {"approve": True}},
    "paused": {},
}
RELEASES = sorted(folder.name for folder in saved_runs.SAVED.iterdir())


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """One fork server for all tests."""
    with closing(Nursery()) as found:
        yield found


def test_the_runs_of_this_release_are_kept_for_the_next() -> None:
    assert VERSION in RELEASES, "make them with `python tests/support/saved_runs.py`"


@pytest.mark.covers("durability:saved-runs")
@pytest.mark.timeout(200)
@pytest.mark.parametrize("release", RELEASES)
def test_saved_runs_of_a_release_are_resumed(nursery: Nursery, tmp_path: Path, release: str) -> None:
    saved_runs.load(saved_runs.SAVED / release, tmp_path / "data")
    with world(nursery, tmp_path) as here:
        process = here.start()
        assert await_serving(process)
        runs = {
            run["input"].partition('"a-')[2].partition('"')[0]: run for run in process.call("list_runs", {})["runs"]
        }
        before = {name: [step["status"] for step in run["steps"]] for name, run in runs.items()}
        assert {name: runs[name]["interrupt"]["kind"] for name in WAIT} == WAIT
        for name, decision in DECIDED.items():
            process.call("resume", {"run": runs[name]["id"], "wait": 0, **decision})
        shown = {name: eventually(lambda run=run: ended(process, run["id"])) for name, run in runs.items()}
        nightly = eventually(lambda: (one := process.call("get_schedule", {"name": "nightly"}))["last_at"] and one)
        process.die(0)
        calls = [(*row[:2], row[3]) for row in here.door.rows("arrivals") if row[3] != "null"]
    assert {name: run["status"] for name, run in shown.items()} == dict.fromkeys(shown, "success")
    steps = {name: [step["status"] for step in run["steps"]] for name, run in shown.items()}
    assert steps == {
        "parked": ["done", "rejected", "done", "done"],
        "cut": ["done"] * 4,
        "held": ["done"],
        "paused": ["done"] * 4,
    }
    assert (nightly["last_run"], nightly["last_error"]) == ("run_0", None)
    assert [address for address, _, _ in calls].count("agents/run") == 1
    made = Counter(run for address, run, _ in calls if address.partition("/")[0] in {"ledger", "post", "clinic"})
    # What the release had done is not done again; what was refused is not done at all.
    assert made == {
        runs["parked"]["id"]: 2,
        runs["cut"]["id"]: 1,
        runs["held"]["id"]: 1,
        runs["paused"]["id"]: 4 - before["paused"].count("done"),
    }


def ended(process: Process, run: str) -> dict[str, Any] | None:
    found = process.call("get_run", {"run": run})
    return found if found["status"] in ENDED else None
