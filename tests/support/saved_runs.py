"""Runs as a release leaves them behind: kept as SQL in the tests, one folder a release, and resumed by the next.

`PYTHONPATH=tests/support:. python tests/support/saved_runs.py` writes the folder of the present release: runs that wait
for a person about a call in doubt, for an approval and in a pause, one that was cut off in its third step, a schedule.
"""

from __future__ import annotations

import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from crashing import Nursery, Process, World, await_serving, eventually, request, world
from tausestack.contract import VERSION

SAVED = Path(__file__).parents[1] / "durability" / "saved"
PARKED, CUT, HELD, PAUSED = "parked", "cut", "held", "paused"
"""The idempotency keys of the runs, by which they are found again."""
CAREFUL = {"name": "careful", "instructions": "Ask.", "tools": ["clinic/*"], "approvals": [{"tool": "clinic/*"}]}
NIGHTLY = {"name": "nightly", "agent": "concierge", "input": request("nightly"), "cron": "0 3 * * *"}
A_CALL = 300
"""Milliseconds: time enough to pause a run between two of its calls."""


def save(folder: Path) -> None:
    """Make the runs and the schedule, and write what the release keeps of them."""
    with (
        tempfile.TemporaryDirectory() as data,
        closing(Nursery()) as nursery,
        world(nursery, Path(data), milliseconds=A_CALL) as here,
    ):
        _cut_off(here, PARKED, "call.after", skip=1)
        process = here.start()
        assert await_serving(process)
        run = here.accepted[PARKED]
        eventually(lambda: process.call("get_run", {"run": run})["status"] == "interrupted")
        _waits(process)
        process.stop()
        _cut_off(here, CUT, "result.after", skip=2)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted((here.folder / "data" / "tenants").glob("*/*.db")):
            with closing(sqlite3.connect(file)) as connection:
                text = "\n".join(connection.iterdump()) + "\n"
            (folder / f"{file.parent.name}.{file.stem}.sql").write_text(text)


def _waits(process: Process) -> None:
    """Leave what waits: a run for an approval, one in a pause, and a schedule for its hour."""
    process.call("save_agent", {"spec": CAREFUL})
    held = process.call("run", {"agent": "careful", "input": f'Check the room "a-{HELD}"', "wait": 30}, HELD)
    assert held["interrupt"]["kind"] == "approval", held
    paused = process.call("run", {"agent": "concierge", "input": request(PAUSED), "wait": 0}, PAUSED)["id"]
    eventually(lambda: process.call("get_run", {"run": paused})["steps"])
    process.call("pause", {"run": paused})
    eventually(lambda: process.call("get_run", {"run": paused}).get("interrupt") == {"kind": "pause"})
    process.call("save_schedule", NIGHTLY)


def load(folder: Path, data: Path) -> None:
    """Put a release's files where the service looks for them."""
    for text in sorted(folder.glob("*.sql")):
        tenant, _, stem = text.stem.partition(".")
        file = data / "tenants" / tenant / f"{stem}.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(text.read_text())
    with closing(sqlite3.connect(data / "tenants" / "acme" / "agents.db")) as connection:
        connection.execute("UPDATE schedules SET next_at = '2026-01-01T03:00:00+00:00'")  # its hour has come meanwhile
        connection.commit()
    with closing(sqlite3.connect(data / "tenants" / "_system" / "agents.db")) as connection:
        connection.execute("UPDATE timers SET due = 0 WHERE kind = 'schedule'")
        connection.commit()


def _cut_off(here: World, key: str, place: str, *, skip: int) -> None:
    here.arm(place, signal.SIGKILL, skip=skip)
    process = here.start()
    assert await_serving(process)
    asked = {"agent": "concierge", "input": request(key)}
    here.accepted[key] = process.call("run", {"wait": 0, **asked}, key)["id"]
    process.die(60)
    assert not here.failpoint.exists()


if __name__ == "__main__":
    save(SAVED / (sys.argv[1] if len(sys.argv) > 1 else VERSION))
