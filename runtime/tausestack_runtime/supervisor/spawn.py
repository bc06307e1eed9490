"""Starting a fresh process in a session of its own, which dies with the supervisor."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from tausestack_runtime.supervisor.linux import die_with_parent

CANNOT_RUN = 127
FIRST_DESCRIPTOR = 3
MAX_DESCRIPTORS = 65536


def split_off(run: Callable[[socket.socket], NoReturn]) -> tuple[int, socket.socket]:
    """Fork a process that runs a function on one end of a channel; return its id and the channel's other end.

    It shares this process's memory, and so has to be split off before this process opens anything.
    """
    parent = os.getpid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        os.setsid()
        die_with_parent(parent)
        os.closerange(FIRST_DESCRIPTOR, theirs.fileno())
        os.closerange(theirs.fileno() + 1, MAX_DESCRIPTORS)
        ours.detach()
        run(theirs)
    except BaseException:  # noqa: BLE001 the fork must end here, never go on as a second supervisor
        traceback.print_exc()
    finally:
        os._exit(CANNOT_RUN)


def asked_apart(ask: Callable[[], str], seconds: float) -> str | None:
    """Return what a function says in a process made for it, None where it breaks or takes longer.

    What it imports, and whoever it connects to, stays out of this process.
    """
    parent = os.getpid()
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            die_with_parent(parent)
            os.close(ours)
            os.write(theirs, b"=" + ask().encode())
        except BaseException:  # noqa: BLE001 the fork must end here, never go on as a second supervisor
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        if not select.select([answer], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        said = answer.read()
    return said[1:].decode() if said else None


def spawn(command: Sequence[str], environment: Mapping[str, str], passed: Sequence[int]) -> int:
    """Return the process id of a command that inherits the descriptors passed and no others but the standard ones."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        die_with_parent(parent)
        for descriptor in passed:
            os.set_inheritable(descriptor, True)
        os.execve(command[0], list(command), dict(environment))  # noqa: S606 our own interpreter, no shell wanted
    except BaseException:  # noqa: BLE001 the fork must end here, never go on as a second supervisor
        traceback.print_exc()
    finally:
        os._exit(CANNOT_RUN)
