"""A package of the index that many tests install: fetched once a run, by whichever worker needs it first."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tausestack_runtime.adapters.fetch import fetch_python

CLOCK = "mcp-server-time"


def fetched(factory: pytest.TempPathFactory) -> Path:
    """Return a store of packages with `CLOCK` in it, which nobody may change."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # what the workers of this run share
    store = base / "fetched" / "store"
    store.parent.mkdir(exist_ok=True)
    with (store.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        asyncio.run(fetch_python(store, CLOCK, None))
    return store


def put(store: Path, data: Path) -> Path:
    """Put what a store holds into that of a data folder, and return the folder."""
    shutil.copytree(store, data / "store", copy_function=os.link)
    return data
