"""The store of fetched packages: each whole in a folder of its own, with a record of what was fetched."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FETCH_SECONDS = 120.0
RECORD = "package.json"


@dataclass(frozen=True)
class Package:
    """A package in the store."""

    identifier: str
    version: str
    entry: str
    """What starts it: `module:function` of a Python package, the script's path in its folder of an npm one."""
    store: str
    """Its folder, relative to the store."""
    wheels: dict[str, str]
    """The hash of everything that was unpacked: SHA-256 of each wheel by file name, or npm's own integrity by path."""


def recorded(folder: Path) -> Package | None:
    """Return the package in a folder of the store, or None where there is none."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    return Package(**record)


def keep(ready: Path, store: Path, package: Package) -> Package:
    """Move a package that is ready into the store, at once; where another start was faster, return what is there."""
    final = store / package.store
    (ready / RECORD).write_text(json.dumps(asdict(package), indent=2, sort_keys=True))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(ready, final)  # noqa: PTH104 atomic, and refuses a folder that is there
    except OSError:
        known = recorded(final)
        if known is None:
            raise
        return known
    return package


@asynccontextmanager
async def workplace(store: Path) -> AsyncGenerator[Path]:
    """Give a folder beside the store's packages to prepare one in, and remove what is left of it."""
    await asyncio.to_thread(lambda: store.mkdir(parents=True, exist_ok=True, mode=0o700))
    work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".fetch-", dir=store))
    try:
        yield work
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
