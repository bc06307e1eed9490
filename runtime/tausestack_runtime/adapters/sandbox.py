"""The sandbox of third-party servers: bubblewrap, else Landlock, else none runs at all.

Either way a server gets a home in memory, an environment of what was declared for it and nothing else, no network, no
other process's `/proc`, and no file but the system's programs, the interpreter and its own package.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tausestack.errors import Unavailable
from tausestack_runtime.adapters import seccomp

Tier = Literal["bwrap", "landlock"]
Wish = Literal["auto", "bwrap", "landlock"]

GIB, MIB = 1 << 30, 1 << 20
LIMITS = {
    "RLIMIT_DATA": 4 * GIB,  # what it can write to
    "RLIMIT_AS": 8 * GIB,  # Node sets addresses aside, 5 GiB in a server of 110 MB
    "RLIMIT_FSIZE": 64 * MIB,
    "RLIMIT_NOFILE": 4096,  # Node opens all the modules at once that a module imports
    "RLIMIT_CORE": 0,
}
MAX_PROCESSES = 128
HOME_BYTES = 64 * MIB

_LAUNCHER = Path(__file__).with_name("launcher.py")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
_ETC = ("/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime")

# Sets the limit of processes from inside, where it counts the sandbox's own alone, then calls the entry point.
_BOOTSTRAP = """\
import os, resource, runpy, site, sys
resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))
store, entry, *rest = sys.argv[1:]
site.setquit()
site.addsitedir(store)
module, colon, attributes = entry.partition(":")
sys.argv = [module, *rest]
if not colon:
    runpy.run_path(os.path.join(store, entry), run_name="__main__")
    sys.exit()
found = __import__(module, fromlist=["_"])
for name in attributes.split("."):
    found = getattr(found, name)
sys.exit(found())
"""


# The same for any other program.
_LIMITED = """\
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))
os.execv(sys.argv[1], sys.argv[1:])
"""

FOLDER = "${folder}"
"""In a command or a variable: the path of the folder that the server may write and keep."""
_FOLDER_INSIDE = "/folder"
_HOME_INSIDE = "/tmp/work"  # noqa: S108 a path inside the sandbox


@dataclass
class Prepared:
    """A command that runs in the sandbox; `close` it once the process has ended."""

    argv: list[str]
    pass_fds: tuple[int, ...]
    home: Path | None = None

    def started(self) -> None:
        """Close what only the start needed."""
        for number in self.pass_fds:
            os.close(number)
        self.pass_fds = ()

    def close(self) -> None:
        """Remove the home's mount point and close what is left open."""
        self.started()
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home = None


def choose(wish: Wish = "auto") -> Tier:
    """Return the best tier that works here, or raise `Unavailable` saying why there is none."""
    if not sys.platform.startswith("linux"):
        raise Unavailable(f"third-party servers need a sandbox, and {sys.platform} has none that we know: use Linux")
    if not seccomp.supported():
        raise Unavailable(f"third-party servers need a sandbox, and none is known for {os.uname().machine}")
    if wish in {"auto", "bwrap"}:
        bwrap = shutil.which("bwrap", path=os.defpath)
        trouble = "it is not installed" if bwrap is None else _trouble(bwrap)
        if trouble is None:
            return "bwrap"
        if wish == "bwrap":
            raise Unavailable(f"TAUSESTACK_SANDBOX is bwrap, and bubblewrap does not work here: {trouble}")
    if _landlock_abi() < 1:
        raise Unavailable("third-party servers need a sandbox: install bubblewrap, or use a kernel with Landlock")
    return "landlock"


def wish_of(environment: Mapping[str, str]) -> Wish:
    """Return what TAUSESTACK_SANDBOX asks for, or raise `Unavailable` where it is none of the tiers."""
    asked = environment.get("TAUSESTACK_SANDBOX") or "auto"
    for wish in ("auto", "bwrap", "landlock"):
        if asked == wish:
            return wish
    raise Unavailable(f"TAUSESTACK_SANDBOX is '{asked[:40]}': it is auto, bwrap or landlock")


def python_command(site: Path, entry: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that calls an entry point (`module:function`) of a package in the store, or runs a script."""
    return [
        str(interpreter()), "-S", "-s", "-B", "-X", "utf8", "-c", _BOOTSTRAP.format(processes=MAX_PROCESSES),
        str(site), entry, *arguments,
    ]  # fmt: skip


def program_command(program: Path, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a program of the machine, or of a package in the store."""
    bootstrap = _LIMITED.format(processes=MAX_PROCESSES)
    return [str(interpreter()), "-I", "-S", "-B", "-c", bootstrap, str(program), *arguments]


def interpreter() -> Path:
    """Return the interpreter that a virtual environment, if this is one, was made with."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(os.path.realpath(Path(sys.base_prefix) / "bin" / name))


def prepare(
    tier: Tier, command: Sequence[str], *, readable: Sequence[Path], env: Mapping[str, str], folder: Path | None = None
) -> Prepared:
    """Return how to run a command in the sandbox with some folders readable and these variables set, and no others.

    The server works in `folder`, which it may write and which lasts; without one, in one in memory.
    """
    folders = [str(Path(sys.base_prefix).resolve()), *(str(path.resolve()) for path in readable)]
    if tier == "bwrap":
        return _bubblewrap(command, folders, env, folder)
    return _landlock(command, folders, env, folder)


def _environment(home: str, env: Mapping[str, str], place: str) -> dict[str, str]:
    # The clock is UTC everywhere: a definition that names the machine's zone would differ from machine to machine.
    own = {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "TZ": "UTC"}
    # So would one that names the members of a set, from start to start: Python's hashes are the same at each.
    own["PYTHONHASHSEED"] = "0"
    return {**{name: value.replace(FOLDER, place) for name, value in env.items()}, **own}


def _bubblewrap(
    command: Sequence[str], folders: Sequence[str], env: Mapping[str, str], folder: Path | None
) -> Prepared:
    bwrap = shutil.which("bwrap", path=os.defpath)
    if bwrap is None:
        raise Unavailable("bubblewrap is not installed any more")
    program = _memory(seccomp.program(sockets=True))
    variables: list[str] = ["--clearenv"]
    for name, value in _environment(_HOME_INSIDE, env, _FOLDER_INSIDE).items():
        variables += ["--setenv", name, value]
    # By a file, not as arguments: those can be read by every process of the machine.
    settings = _memory(b"\0".join(os.fsencode(word) for word in variables) + b"\0")
    argv = [
        bwrap, "--unshare-user", "--uid", "65534", "--gid", "65534", "--unshare-ipc", "--unshare-pid", "--unshare-uts",
        "--unshare-cgroup-try", "--unshare-net", "--disable-userns", "--die-with-parent", "--new-session",
        "--hostname", "sandbox", "--cap-drop", "ALL", "--seccomp", str(program), "--args", str(settings),
        "--size", str(HOME_BYTES), "--perms", "1777", "--tmpfs", "/tmp",  # noqa: S108 the sandbox's own
        "--ro-bind", "/usr", "/usr",
    ]  # fmt: skip
    for path in _SYSTEM[1:]:
        if Path(path).is_symlink():
            argv += ["--symlink", os.readlink(path), path]  # noqa: PTH115 as it stands, not resolved
        elif Path(path).is_dir():
            argv += ["--ro-bind", path, path]
    for path in _ETC:
        argv += ["--ro-bind-try", path, path]
    for path in folders:
        argv += ["--ro-bind", path, path]
    # By the same name whether it lasts or not: a server that names it in its definitions has those that were approved.
    argv += ["--size", str(HOME_BYTES), "--tmpfs"] if folder is None else ["--bind", str(folder)]
    argv += [_FOLDER_INSIDE, "--proc", "/proc", "--dev", "/dev", "--dir", _HOME_INSIDE, "--remount-ro", "/"]
    argv += ["--chdir", _FOLDER_INSIDE]
    words = [word.replace(FOLDER, _FOLDER_INSIDE) for word in command]
    order = {"tier": "bwrap", "limits": LIMITS, "argv": [*argv, "--", *words], "pass_fds": [program, settings]}
    return _launched(order, (program, settings))


def _landlock(command: Sequence[str], folders: Sequence[str], env: Mapping[str, str], folder: Path | None) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="tausestack-")).resolve()
    place = str(home if folder is None else folder)
    order = {
        "tier": "landlock",
        "limits": LIMITS,
        "argv": [word.replace(FOLDER, place) for word in command],
        "env": _environment(str(home), env, place),
        "read": [*_SYSTEM, *_ETC, *folders],
        "home": str(home),
        "folder": place,
        "seccomp": base64.b64encode(seccomp.program(sockets=False)).decode(),
    }
    return _launched(order, (), home)


def _launched(order: Mapping[str, object], pass_fds: tuple[int, ...], home: Path | None = None) -> Prepared:
    number = _memory(json.dumps(order).encode())
    argv = [str(interpreter()), "-I", "-S", "-B", str(_LAUNCHER), str(number)]
    return Prepared(argv, (*pass_fds, number), home)


def _memory(content: bytes) -> int:
    """Return the number of a file in memory that holds some bytes, to be read from its start."""
    number = os.memfd_create("sandbox")
    with open(number, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(number, 0, os.SEEK_SET)
    return number


@lru_cache(maxsize=4)
def _trouble(bwrap: str) -> str | None:
    """Return why bubblewrap can't make namespaces here, as in most containers, or None where it can."""
    command = [bwrap, "--unshare-user", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--", "/bin/true"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)  # noqa: S603 our own words
    return None if done.returncode == 0 else done.stderr.strip()[:200] or f"it ends with {done.returncode}"


def _landlock_abi() -> int:
    import ctypes  # only where there is no bubblewrap

    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
