"""The folders that a tenant's servers write: one an installation, which lasts until it is purged."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from tausestack.names import check_server

MAX_BYTES = 256 * 1024 * 1024
MAX_FILES = 10_000


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
        if await asyncio.to_thread(folder.is_dir):
            await asyncio.to_thread(shutil.rmtree, folder)


def overfull(folder: Path) -> bool:
    """Return whether there is more in a folder than a server may keep; links are not followed."""
    size = files = 0
    for where, _, names in os.walk(folder):
        files += 1 + len(names)
        if files > MAX_FILES:
            return True
        for name in names:
            try:
                size += os.lstat(os.path.join(where, name)).st_blocks * 512  # noqa: PTH118 thousands of files
            except FileNotFoundError:
                continue
        if size > MAX_BYTES:
            return True
    return False
