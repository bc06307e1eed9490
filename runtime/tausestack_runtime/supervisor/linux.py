"""What the supervisor asks of Linux: death signals, orphans, memory, who is connected to a Unix socket."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tausestack_runtime.settings import StartError

_SET_PDEATHSIG = 1
_SET_NAME = 15
_SET_CHILD_SUBREAPER = 36
_REPARENT_SECONDS = 5.0
_ENDING_SECONDS = 0.5
_ENV_START = 47
"""Which field after the command's name in `/proc/self/stat` says where the environment begins."""


def _prctl(option: int, argument: int | ctypes.Array[ctypes.c_char]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> None:
    """Make this process the parent of every orphan among its descendants, or raise `StartError` off Linux."""
    if sys.platform != "linux":
        raise StartError("the supervisor needs Linux: run the stack in a container or a virtual machine")
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies; it is gone already if that happened before."""
    _prctl(_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def await_parent(parent: int) -> None:
    """Wait until this process, whose parent is about to exit, has become the subreaper's child."""
    deadline = time.monotonic() + _REPARENT_SECONDS
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            raise TimeoutError("the supervisor is gone")
        time.sleep(0.0002)


def name_process(name: str) -> None:
    """Set the name that `ps -o comm` and `top` show; 15 bytes of it count."""
    _prctl(_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))


def conceal(names: Iterable[str]) -> None:
    """Blank variables in `/proc/self/environ`, which what is forked from here shows as well; `os.environ` stays."""
    start = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[_ENV_START])
    wanted, offset = {name.encode() for name in names}, 0
    for variable in Path("/proc/self/environ").read_bytes().split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name in wanted:
            ctypes.memset(start + offset + len(name) + 1, 0, len(value))
        offset += len(variable) + 1


def ended_by(pid: int) -> int | None:
    """Return the exit code, or the negative signal, of a child that is ending, and leave it to be reaped.

    None where it goes on for longer than a moment, or was reaped before.
    """
    try:
        ending = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        select.select([ending], [], [], _ENDING_SECONDS)
        dead = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    finally:
        os.close(ending)
    if dead is None:
        return None
    return dead.si_status if dead.si_code == os.CLD_EXITED else -dead.si_status


def thread_count() -> int:
    """Return how many threads this process has, native ones included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def children(pid: int | None = None) -> list[int]:
    """Return the direct children of a process (this one, if none is named), dead ones to be reaped included."""
    try:
        tasks = list(Path(f"/proc/{pid or os.getpid()}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """Return the process ids of a process's children, their children and so on."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def resident_bytes(pid: int) -> int | None:
    """Return a process's proportional set size in bytes, or None if it is gone."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), None)


def connections() -> Counter[str]:
    """Return how many connections each Unix socket's path has, those that wait to be accepted included."""
    connecting, connected = "02", "03"
    found: Counter[str] = Counter()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[5] in {connecting, connected}:
            found[fields[7]] += 1
    return found


def process_started_at(pid: int) -> float:
    """Return when a process was started, in seconds since the epoch, to a hundredth."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
