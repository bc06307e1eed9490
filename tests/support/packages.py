"""Packages of the indexes that many tests install: fetched once a run, by whichever worker needs them first."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tausestack_runtime.adapters.fetch import fetch_python
from tausestack_runtime.adapters.fetch_npm import fetch_npm

CLOCK = "mcp-server-time"
EVERYTHING, FILES, MEMORY = (f"@modelcontextprotocol/server-{name}" for name in ("everything", "filesystem", "memory"))


def fetched(factory: pytest.TempPathFactory) -> Path:
    """Return a store of packages with `CLOCK` in it, which nobody may change."""
    return _once(factory, "pypi", lambda store: fetch_python(store, CLOCK, None))


def fetched_npm(factory: pytest.TempPathFactory) -> Path:
    """Return the same with `EVERYTHING`, `FILES` and `MEMORY`."""

    async def fetch(store: Path) -> None:
        await asyncio.gather(*(fetch_npm(store, name, None) for name in (EVERYTHING, FILES, MEMORY)))

    return _once(factory, "npm", fetch)


def put(store: Path, data: Path, *names: str) -> Path:
    """Put what a store holds, or what it holds of these names, into that of a data folder; return the folder."""
    for package in (store / name for name in names) if names else store.glob("*/*"):
        place = data / package.relative_to(store.parent)
        if not place.exists():
            shutil.copytree(package, place, copy_function=os.link, symlinks=True)
    return data


def _once(factory: pytest.TempPathFactory, kind: str, fetch: Callable[[Path], Awaitable[Any]]) -> Path:
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # what the workers of this run share
    store, done = base / "fetched" / kind / "store", base / "fetched" / kind / "done"
    store.parent.mkdir(exist_ok=True, parents=True)
    with (store.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():

            async def fetching() -> None:
                await fetch(store)

            asyncio.run(fetching())
            done.touch()
    return store
