"""A tenant's folder, and who holds files of it open."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import structlog

from tausestack.errors import Unavailable
from tausestack.names import check_tenant

logger = structlog.get_logger("life")


class Folder:
    """All files of a tenant lie in one folder; what its servers nest in it may be deep."""

    def __init__(self, data: Path, tenant: str) -> None:
        self.path = data / "tenants" / check_tenant(tenant)

    def count(self) -> dict[str, int]:
        """Return how many files there are and their bytes; nothing for no folder."""
        return counted(self.path)

    def remove(self) -> dict[str, int]:
        """Remove the folder, and return what there was in it, as `count` does."""
        found = self.count()
        if found:
            # Not by Python, which gives up where folders are nested by the thousand.
            done = subprocess.run(["rm", "-rf", "--", str(self.path)], check=False, stderr=subprocess.PIPE)  # noqa: S603, S607 a path of ours
            if done.returncode != 0:
                logger.error("a folder can't be removed", path=str(self.path), reason=done.stderr.decode()[-1000:])
                raise Unavailable("the tenant's folder can't be removed: see the log")
        return found


def counted(path: Path) -> dict[str, int]:
    """Return how many files are below a folder, and their bytes; nothing for no folder."""
    if not path.exists():
        return {}
    files = size = 0
    waiting = [str(path)]
    while waiting:
        # Removed meanwhile, or nested too deep for a path: then it is not counted.
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
    return {"folder": 1, "files": files, "bytes": size}


def open_files(folder: Path, pids: Iterable[int]) -> int:
    """Return how many files of a folder, removed ones too, some processes of ours hold open."""
    prefix = f"{folder.absolute()}/"
    return sum(name.startswith(prefix) for pid in pids for name in opened(pid))


def opened(pid: int) -> list[str]:
    """Return the names of the files that a process holds open; of none, for one that has ended."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 names alone
    except OSError:
        return []  # it has ended
    found: list[str] = []
    for name in names:
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))  # noqa: PTH115 what it says, not where that is
    return found
