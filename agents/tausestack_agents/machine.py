"""What tells this machine from another, and a process from a later one with its number."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

UNKNOWN = "unknown"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


def machine() -> str:
    """Return a name of this machine since it was started; a container with processes of its own is one, too."""
    parts = [socket.gethostname()]
    for read in (lambda: _BOOT.read_text("ascii"), lambda: str(_NAMESPACE.readlink())):
        try:
            parts.append(read())
        except OSError:
            parts.append(UNKNOWN)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def started(pid: int) -> str:
    """When a process started, in the kernel's ticks: with its number, a name that is never used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return UNKNOWN


def alive(pid: int, born: str) -> bool:
    """Return whether a process of this machine that started at a time is still there, as far as that can be told."""
    if born == UNKNOWN:
        return True
    if started(pid) != born:
        return False
    return _state(pid) not in {"Z", "X"}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"
