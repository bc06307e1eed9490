"""The first program of a sandbox: narrows itself, then becomes or watches over the third-party server.

Run as a script by `python -I -S`, with one argument: the number of a file that holds a JSON object, either
`{"tier": "bwrap", "limits", "argv", "pass_fds"}` or `{"tier": "landlock", "limits", "argv", "env", "read", "home",
"folder", "seccomp"}`, the folder being where the server works. It imports nothing of ours and nothing heavy, so that a
sandbox costs milliseconds, and it is a program of its own because a process with threads can't safely run Python
between fork and exec. The server's environment reaches nothing before the sandbox is closed: a variable such as
LD_PRELOAD would else act outside it.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import signal
import struct
import sys
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER = 1, 38, 22, 36
PR_CAPBSET_DROP, PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED, CAPABILITY_VERSION = 24, 28, 3, 0x20080522
NEW_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_MIN_ABI_ALONE = 6
"""From here on Landlock itself keeps signals in; below, a process namespace has to."""
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

libc = ctypes.CDLL(None, use_errno=True)


class SetupError(Exception):
    """Why the sandbox could not be made; nothing third-party has run."""


def main() -> NoReturn:
    """Set the sandbox up and run the server; exit 125 with one line on stderr where that fails."""
    with os.fdopen(int(sys.argv[1])) as file:
        order: dict[str, Any] = json.load(file)
    try:
        for name, value in order["limits"].items():
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
        if order["tier"] == "bwrap":
            for fd in order["pass_fds"]:
                os.set_inheritable(fd, True)
            die_with_parent(signal.SIGKILL)
            os.execve(order["argv"][0], order["argv"], {})  # noqa: S606 no shell is meant
        landlocked(order)
    except (SetupError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr, flush=True)
    os._exit(125)


def landlocked(order: dict[str, Any]) -> NoReturn:
    """Run the server under Landlock, in namespaces of its own where the kernel allows, and leave nothing behind."""
    abi = landlock_abi()
    own_namespaces = unshare(order["home"])
    if not own_namespaces and abi < LANDLOCK_MIN_ABI_ALONE:
        raise SetupError(f"no user namespaces, and Landlock {abi} does not keep signals in")
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            restrict(order, abi)
            # Within its own process namespace the supervisor has no number, hence no check of the parent there.
            die_with_parent(signal.SIGKILL, None if own_namespaces else supervisor)
            install_filter(base64.b64decode(order["seccomp"]))
            os.chdir(order["folder"])
            os.execve(order["argv"][0], order["argv"], order["env"])  # noqa: S606 no shell is meant
        except (SetupError, OSError) as error:
            print(f"sandbox: {error}", file=sys.stderr, flush=True)
        os._exit(125)
    close_pipes()

    def end(number: int, frame: object) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    die_with_parent(signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    kill_descendants()
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def die_with_parent(number: int, parent: int | None = None) -> None:
    """Ask for a signal when the parent dies, and end at once if it already has."""
    before = os.getppid() if parent is None else parent
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() not in {before, 0}:
        os._exit(125)


def close_pipes() -> None:
    """Let go of the server's pipes, so that its end is seen at once."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(null, 2)


def kill_descendants() -> None:
    """End what the server left behind; everything orphaned below is a child of this process by now."""
    while True:
        with open("/proc/thread-self/children") as listed:
            children = [int(number) for number in listed.read().split()]
        for number in children:
            os.kill(number, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def unshare(home: str) -> bool:
    """Enter namespaces of our own (network, processes, mounts …); False where the kernel or a container forbids it."""
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(NEW_NAMESPACES) != 0:
        return False
    for path, text in (("setgroups", "deny"), ("uid_map", f"65534 {uid} 1"), ("gid_map", f"65534 {gid} 1")):
        with open(f"/proc/self/{path}", "w") as file:
            file.write(text)
    private_recursive = 0x4000 | 0x40000
    nosuid_nodev = 2 | 4
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(private_recursive), None) != 0:
        raise SetupError("the mounts can't be made private: " + os.strerror(ctypes.get_errno()))
    options = b"size=67108864,mode=0700,nr_inodes=16384"
    if libc.mount(b"tmpfs", os.fsencode(home), b"tmpfs", ctypes.c_ulong(nosuid_nodev), options) != 0:
        raise SetupError("no room in memory can be made for the home: " + os.strerror(ctypes.get_errno()))
    return True


def landlock_abi() -> int:
    """Return the kernel's Landlock version, or raise `SetupError` where it has none."""
    abi = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if abi < 1:
        raise SetupError("this kernel has no Landlock")
    return abi


def restrict(order: dict[str, Any], abi: int) -> None:
    """Keep this process and all that it starts to the named folders, for good."""
    files = (1 << 13) - 1
    files |= (1 << 13) if abi >= 2 else 0  # refer
    files |= (1 << 14) if abi >= 3 else 0  # truncate
    files |= (1 << 15) if abi >= 5 else 0  # device ioctls
    network = 0b11 if abi >= 4 else 0
    scoped = 0b11 if abi >= 6 else 0  # abstract sockets, signals
    attributes = struct.pack("=QQQ", files, network, scoped)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        raise SetupError("Landlock refuses the rules: " + os.strerror(ctypes.get_errno()))
    for path in order["read"]:
        allow(ruleset, path, EXECUTE | READ_FILE | READ_DIR)
    for path in DEVICES:
        allow(ruleset, path, READ_FILE | WRITE_FILE)
    allow(ruleset, order["home"], files)
    allow(ruleset, order["folder"], files)
    drop_capabilities()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if libc.syscall(LANDLOCK_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)) != 0:
        raise SetupError("Landlock does not take hold: " + os.strerror(ctypes.get_errno()))
    os.close(ruleset)


def drop_capabilities() -> None:
    """Give up root's powers for good, so that a container without namespaces of its own runs nothing as real root."""
    header = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    held = ctypes.create_string_buffer(24)
    if libc.capget(header, held) != 0:
        raise SetupError("the capabilities can't be read: " + os.strerror(ctypes.get_errno()))
    if not any(held.raw):
        return
    prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED)
    for number in range(64):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) != 0:
            break  # the kernel knows no more
    if libc.capset(header, bytes(24)) != 0:
        raise SetupError("the capabilities can't be dropped: " + os.strerror(ctypes.get_errno()))


def allow(ruleset: int, path: str, access: int) -> None:
    """Allow some access below a path; a path that is not there allows nothing."""
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):  # noqa: PTH112 pathlib would double this program's start
        access &= EXECUTE | WRITE_FILE | READ_FILE | (1 << 14) | (1 << 15)
    rule = struct.pack("=Qi", access, handle)
    if libc.syscall(LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0)) != 0:
        raise SetupError(f"Landlock refuses {path}: " + os.strerror(ctypes.get_errno()))
    os.close(handle)


def install_filter(program: bytes) -> None:
    """Install the filter of system calls."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), header, 0, 0) != 0:
        raise SetupError("the filter of system calls does not take hold: " + os.strerror(ctypes.get_errno()))


def prctl(option: int, value: int) -> None:
    """Set one of the process's own switches."""
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise SetupError(f"prctl {option}: " + os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
