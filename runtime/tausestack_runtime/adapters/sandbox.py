"""The sandbox of third-party servers: bubblewrap, else Landlock, else none runs at all.

Either way a server gets a home in memory, an environment of what was declared for it and nothing else, no network, no
other process's `/proc`, and no file but the system's programs, the interpreter and its own package.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tausestack.errors import Unavailable
from tausestack_runtime.adapters import seccomp

Tier = Literal["bwrap", "landlock"]
Wish = Literal["auto", "bwrap", "landlock"]

GIB, MIB = 1 << 30, 1 << 20
LIMITS = {
    "RLIMIT_AS": 4 * GIB,  # 1 GiB is too little for node's address space
    "RLIMIT_FSIZE": 64 * MIB,
    "RLIMIT_NOFILE": 512,
    "RLIMIT_CORE": 0,
}
MAX_PROCESSES = 128
HOME_BYTES = 64 * MIB

_LAUNCHER = Path(__file__).with_name("launcher.py")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
_ETC = ("/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime")

# Sets the limit of processes from inside, where it counts the sandbox's own alone, then calls the entry point.
_BOOTSTRAP = """\
import resource, site, sys
resource.setrlimit(resource.RLIMIT_NPROC, ({processes}, {processes}))
store, entry, *rest = sys.argv[1:]
site.setquit()
site.addsitedir(store)
module, _, attributes = entry.partition(":")
sys.argv = [module, *rest]
found = __import__(module, fromlist=["_"])
for name in attributes.split("."):
    found = getattr(found, name)
sys.exit(found())
"""


@dataclass
class Prepared:
    """A command that runs in the sandbox; `close` it once the process has ended."""

    argv: list[str]
    environment: dict[str, str]
    pass_fds: tuple[int, ...] = ()
    home: Path | None = None
    _open: list[int] = field(default_factory=list[int])

    def started(self) -> None:
        """Close what only the start needed."""
        while self._open:
            os.close(self._open.pop())

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
        if shutil.which("bwrap", path=os.defpath) is not None:
            return "bwrap"
        if wish == "bwrap":
            raise Unavailable("TAUSESTACK_SANDBOX is bwrap, and bubblewrap is not installed")
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
    """Return the command that calls an entry point (`module:function`) of a package in the store."""
    return [
        str(interpreter()), "-S", "-s", "-B", "-X", "utf8", "-c", _BOOTSTRAP.format(processes=MAX_PROCESSES),
        str(site), entry, *arguments,
    ]  # fmt: skip


def interpreter() -> Path:
    """Return the interpreter that a virtual environment, if this is one, was made with."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(os.path.realpath(Path(sys.base_prefix) / "bin" / name))


def prepare(tier: Tier, command: Sequence[str], *, readable: Sequence[Path], env: Mapping[str, str]) -> Prepared:
    """Return how to run a command in the sandbox with some folders readable and these variables set, and no others."""
    folders = [str(Path(sys.base_prefix).resolve()), *(str(path.resolve()) for path in readable)]
    if tier == "bwrap":
        return _bubblewrap(command, folders, env)
    return _landlock(command, folders, env)


def _environment(home: str, env: Mapping[str, str]) -> dict[str, str]:
    # The clock is UTC everywhere: a definition that names the machine's zone would differ from machine to machine.
    own = {"PATH": "/usr/bin:/bin", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "TZ": "UTC"}
    return {**env, **own}


def _bubblewrap(command: Sequence[str], folders: Sequence[str], env: Mapping[str, str]) -> Prepared:
    bwrap = shutil.which("bwrap", path=os.defpath)
    if bwrap is None:
        raise Unavailable("bubblewrap is not installed any more")
    program = os.memfd_create("seccomp", 0)
    os.write(program, seccomp.program(sockets=True))
    os.lseek(program, 0, os.SEEK_SET)
    argv = [
        bwrap, "--unshare-user", "--uid", "65534", "--gid", "65534", "--unshare-ipc", "--unshare-pid", "--unshare-uts",
        "--unshare-cgroup-try", "--unshare-net", "--disable-userns", "--die-with-parent", "--new-session",
        "--hostname", "sandbox", "--cap-drop", "ALL", "--seccomp", str(program),
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
    argv += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp/work", "--remount-ro", "/", "--chdir", "/tmp/work"]  # noqa: S108
    order = {"tier": "bwrap", "limits": LIMITS, "argv": [*argv, "--", *command], "pass_fds": [program]}
    return Prepared(_launch(order), _environment("/tmp/work", env), (program,), None, [program])  # noqa: S108


def _landlock(command: Sequence[str], folders: Sequence[str], env: Mapping[str, str]) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="tausestack-")).resolve()
    order = {
        "tier": "landlock",
        "limits": LIMITS,
        "argv": list(command),
        "read": [*_SYSTEM, *_ETC, *folders],
        "home": str(home),
        "seccomp": base64.b64encode(seccomp.program(sockets=False)).decode(),
    }
    return Prepared(_launch(order), _environment(str(home), env), (), home)


def _launch(order: Mapping[str, object]) -> list[str]:
    return [str(interpreter()), "-I", "-S", "-B", str(_LAUNCHER), json.dumps(order)]


def _landlock_abi() -> int:
    import ctypes  # only where there is no bubblewrap

    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))
