"""Runs as a release leaves them behind: kept as SQL in the tests, one folder a release, and resumed by the next.

`PYTHONPATH=tests/support:. python tests/support/saved_runs.py` writes the folder of the present release: one run that
waits for a person about a call in doubt, and one that was cut off in its third step.
"""

from __future__ import annotations

import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from crashing import Nursery, World, await_serving, eventually, request, world
from tausestack.contract import VERSION

SAVED = Path(__file__).parents[1] / "durability" / "saved"
PARKED, CUT = "parked", "cut"
"""The idempotency keys of the two runs, by which they are found again."""


def save(folder: Path) -> None:
    """Make the two runs, and write what the release keeps of them."""
    with tempfile.TemporaryDirectory() as data, closing(Nursery()) as nursery, world(nursery, Path(data)) as here:
        _cut_off(here, PARKED, "call.after", skip=1)
        process = here.start()
        assert await_serving(process)
        run = here.accepted[PARKED]
        eventually(lambda: process.call("get_run", {"run": run})["status"] == "interrupted")
        process.stop()
        _cut_off(here, CUT, "result.after", skip=2)
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted((here.folder / "data" / "tenants").glob("*/*.db")):
            with closing(sqlite3.connect(file)) as connection:
                text = "\n".join(connection.iterdump()) + "\n"
            (folder / f"{file.parent.name}.{file.stem}.sql").write_text(text)


def load(folder: Path, data: Path) -> None:
    """Put a release's files where the service looks for them."""
    for text in sorted(folder.glob("*.sql")):
        tenant, _, stem = text.stem.partition(".")
        file = data / "tenants" / tenant / f"{stem}.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as connection:
            connection.executescript(text.read_text())


def _cut_off(here: World, key: str, place: str, *, skip: int) -> None:
    here.arm(place, signal.SIGKILL, skip=skip)
    process = here.start()
    assert await_serving(process)
    asked = {"agent": "concierge", "input": request(key)}
    here.accepted[key] = process.call("run", asked, key)["id"]
    process.die(60)
    assert not here.failpoint.exists()


if __name__ == "__main__":
    save(SAVED / (sys.argv[1] if len(sys.argv) > 1 else VERSION))
