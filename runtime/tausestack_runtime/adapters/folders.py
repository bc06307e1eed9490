"""The folders that a tenant's servers write: one an installation, which lasts until it is purged."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from tausestack.errors import Unavailable
from tausestack.names import check_server

MAX_BYTES = 256 * 1024 * 1024
MAX_FILES = 10_000
MAX_DEPTH = 64


class Folders:
    """Makes and removes them below one tenant's own folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def make(self, name: str) -> Path:
        """Return a server's folder, made where it is not there."""
        folder = self._root / check_server(name)
        await asyncio.to_thread(lambda: folder.mkdir(parents=True, exist_ok=True, mode=0o700))
        return folder.resolve()

    async def remove(self, name: str) -> None:
        """Remove a server's folder with all that is in it."""
        folder = self._root / check_server(name)
        # Not by Python, which gives up where folders are nested by the thousand.
        removing = await asyncio.create_subprocess_exec("rm", "-rf", "--", str(folder))
        if await removing.wait() != 0:
            raise Unavailable(f"the folder of {name} can't be removed")


def overfull(folder: Path) -> bool:
    """Return whether there is more in a folder than a server may keep; links are not followed."""
    size = files = 0
    waiting = [(str(folder), 0)]
    while waiting:
        where, depth = waiting.pop()
        try:
            with os.scandir(where) as entries:
                for entry in entries:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if files > MAX_FILES or size > MAX_BYTES or depth > MAX_DEPTH:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
        except FileNotFoundError:
            continue  # it has just removed it
    return False
