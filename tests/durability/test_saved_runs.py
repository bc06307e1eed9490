"""Runs that an earlier release left behind go on in this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import saved_runs
from crashing import ENDED, Nursery, await_serving, eventually, world
from tausestack.contract import VERSION

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
        runs = {run["input"]: run for run in process.call("list_runs", {})["runs"]}
        parked, cut = (next(run for text, run in runs.items() if f'"a-{key}"' in text) for key in ("parked", "cut"))
        assert parked["interrupt"]["kind"] == "decision"
        process.call("resume", {"run": parked["id"], "decision": {"approve": False}})

        def ended(run: str) -> dict[str, Any] | None:
            found = process.call("get_run", {"run": run})
            return found if found["status"] in ENDED else None

        shown = [eventually(lambda run=run: ended(run["id"])) for run in (parked, cut)]
        process.die(0)
        calls = [
            (address, arguments) for address, _, _, arguments, _ in here.door.rows("arrivals") if arguments != "null"
        ]
    assert [run["status"] for run in shown] == ["success", "success"]
    assert [step["status"] for step in shown[0]["steps"]] == ["done", "rejected", "done", "done"]
    assert [step["status"] for step in shown[1]["steps"]] == ["done"] * 4
    assert sorted(calls) == [
        ("clinic/check_room", '{"room": "r-parked"}'),
        ("ledger/record_visit", '{"patient": "b-cut"}'),
        ("ledger/record_visit", '{"patient": "b-parked"}'),
    ]
