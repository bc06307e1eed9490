"""A fork server of processes apart: split off before anything else of the agents' process begins, it has one thread.

It tells what became of each that it forked: whoever asks for a run apart learns from a witness how its process ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

Live = Callable[[socket.socket], None]
"""What a new process does, given its line to whoever asked for it."""
Load = Callable[[], None]

NAME = b"agents-apart"
"""What `ps -o comm` shows of these processes."""
NICE = 5
"""How far these processes stand back where there are too few processors for everybody."""
_SET_PDEATHSIG, _SET_NAME = 1, 15
_STARTS_THREADS = 3
_LONGEST = 512


def split_off(load: Load, live: Live) -> socket.socket:
    """Fork the server, and return the channel to it: it forks for each socket that is sent, until the channel closes.

    With each socket comes a number. It answers `{"born": number, "pid"}` (0 where none could be forked) and, once that
    process is no more, `{"pid", "code"}`: a code below zero is the signal that ended it. What is `load`ed it holds for
    all, unless that starts threads, which no fork survives: then each process loads it for itself.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    if os.fork() == 0:
        _be_server(theirs, parent, load, live)
    theirs.close()
    return ours


def _be_server(channel: socket.socket, parent: int, load: Load, live: Live) -> NoReturn:
    code = 1
    try:
        _settle(parent, channel)
        me = os.getpid()
        loaded = os.fork()
        if loaded == 0:
            _die_with(me)
            load()
            if _threads() > 1:
                os._exit(_STARTS_THREADS)
            _serve(channel, lambda: None, live)
        code = os.waitstatus_to_exitcode(os.waitpid(loaded, 0)[1])
        if code == _STARTS_THREADS:
            _serve(channel, load, live)
    except BaseException:  # noqa: BLE001 a fork has nobody to raise to
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve(channel: socket.socket, load: Load, live: Live) -> NoReturn:
    """Fork for each socket that comes, and tell of those that ended."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _woken)
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            with suppress(BlockingIOError):
                while os.read(woken, _LONGEST):
                    continue
            _tell_of_the_dead(channel)
        if channel in ready:
            try:
                number, given, _, _ = socket.recv_fds(channel, _LONGEST, 1)
            except ConnectionResetError:
                os._exit(0)
            if not given:
                os._exit(0)
            line = socket.socket(fileno=given[0])
            pid = _bear(channel, line, (woken, wakes), load, live)
            line.close()
            _tell(channel, born=int(number), pid=pid)


def _woken(number: int, frame: FrameType | None) -> None:
    """Do nothing: where it matters, that it is called is what writes to the pipe."""


def _bear(channel: socket.socket, line: socket.socket, own: tuple[int, int], load: Load, live: Live) -> int:
    server = os.getpid()
    try:
        born = os.fork()
    except OSError:
        traceback.print_exc()
        return 0
    if born:
        return born
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (channel.detach(), *own):
            os.close(each)
        os.setpgrp()  # so that what the code starts is ended with it
        _die_with(server)
        os.nice(NICE)
        _be_the_first_to_go()
        load()
        live(line)
        code = 0
    except BaseException:  # noqa: BLE001 it must not go on in the server's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell_of_the_dead(channel: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(dead.si_pid, signal.SIGKILL)  # before it is reaped: till then the group's id is its own
            _, status = os.waitpid(dead.si_pid, 0)
            _tell(channel, pid=dead.si_pid, code=os.waitstatus_to_exitcode(status))


def _tell(channel: socket.socket, **told: int) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the next look at the channel ends this process
        channel.send(json.dumps(told).encode())


def _settle(parent: int, channel: socket.socket) -> None:
    """Keep nothing of what the agents' process had open, and none of its answers to signals.

    Whoever tells every process of the stack to stop means that one, which ends its own in order. What is started from
    here knows nothing of that: it does not outlive an `exec`, as ignoring them would.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _woken)
    signal.set_wakeup_fd(-1)
    kept = {0, 1, 2, channel.fileno()}
    for each in [int(name.name) for name in Path("/proc/self/fd").iterdir()]:
        if each not in kept:
            with suppress(OSError):  # the folder's own, which is closed by now
                os.close(each)
    _die_with(parent)


def _die_with(parent: int) -> None:
    """Have this process killed when its parent dies; it is gone already if that happened before."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NAME, NAME, 0, 0, 0) or libc.prctl(_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _be_the_first_to_go() -> None:
    """Where memory runs out, the kernel is to take this process, and none that serves everybody."""
    with suppress(OSError):  # a container may not let it say so
        Path("/proc/self/oom_score_adj").write_text("1000")


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())
