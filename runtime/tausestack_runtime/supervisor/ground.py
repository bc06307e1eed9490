"""What a stack stands on: its data folder, the lock on it, the folder of sockets, the sockets themselves."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import socket
import tempfile
from pathlib import Path

from tausestack.contract import VERSION
from tausestack.names import SYSTEM_TENANT
from tausestack_runtime.settings import StartError

BACKLOG = 4096
MAX_RUN_BYTES = 66
"""A Unix socket's path has at most 107 bytes; the longest name in the folder has 33."""

WANTED_FILES = 65536
RESTORING = ".restoring"
"""The folder, in that of an installation, in which one is made of a backup."""


def claim_data(data: Path) -> int:
    """Make the data folder if it is missing, lock it, and return the lock's descriptor, or raise `StartError`."""
    lock = data / "lock"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(f"the data folder {data} can't be written ({reason}): choose another with --data") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner, _ = _holder(descriptor)
        os.close(descriptor)
        raise StartError(
            f"the data folder {data} is in use by another stack (process {owner}): stop that one"
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {VERSION}\n".encode(), 0)
    return descriptor


def check_restored(data: Path, *, in_files: bool = True) -> None:
    """Raise `StartError` where a restore was cut off: what a stack made there would be empty, and in the way of it.

    In files it is whole once they are in their place; in PostgreSQL a little later, so there that is not enough.
    """
    whole = in_files and (data / "tenants").exists()
    if (data / RESTORING).exists() and not whole:
        raise StartError(
            f"a restore into {data} was cut off: run 'tausestack restore' again, or empty the folder to start anew"
        )


def check_database(data: Path, url: str | None) -> None:
    """Raise `StartError` where a folder's tenants are in PostgreSQL and nobody says in which, or it is another's.

    In files there would be none of them: a backup would hold nothing, and a new tenant would find an old one's chain.
    In another's database its tenants would stand under this one's keys. Raises `Unavailable` where it can't be asked.
    """
    if url is not None:
        from tausestack.database.mark import whose  # psycopg and SQLAlchemy, which a start on files never needs

        if (why := whose(data, url)) is not None:
            raise StartError(why)
        return
    if any(data.glob("tenants/*/*.db")):
        return
    if any(folder.name != SYSTEM_TENANT for folder in data.glob("tenants/*/")):
        raise StartError(
            f"the tenants of {data} are in PostgreSQL: give its URL in TAUSESTACK_DATABASE_URL or by --database-url"
        )


def claim_beside(data: Path) -> int | None:
    """Lock a data folder as `claim_data` does, or return None where a stack of this very release runs on it.

    Raises `StartError` where there is no such folder, where a restore into it has not ended, and where what runs on it
    is of another release.
    """
    if not data.is_dir():
        raise StartError(f"there is no data folder {data}: name it with --data")
    check_restored(data)
    try:
        return claim_data(data)
    except StartError:
        descriptor = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
        owner, release = _holder(descriptor)
        os.close(descriptor)
        if release != VERSION:
            raise StartError(
                f"the data folder {data} is in use by another release (process {owner}): stop that one first"
            ) from None
        return None


def _holder(descriptor: int) -> tuple[str, str]:
    """Return the process that a lock's file names, and its release."""
    owner, _, release = os.pread(descriptor, 64, 0).decode(errors="replace").strip().partition(" ")
    return owner or "unknown", release


def bind_port(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket, or raise `StartError` saying what is in the way."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is taken: stop what listens there, or choose another with --port"
            ) from error
        raise StartError(f"can't listen on {host} port {port}: {error.strerror or error}") from error
    return listener


class SocketFolder:
    """The folder of a stack's Unix sockets, which nobody but its user can enter."""

    def __init__(self, data: Path) -> None:
        """Make it: `{data}/run`, or a temporary one where that path is too long for a socket."""
        wanted = data / "run"
        self._temporary = len(os.fsencode(wanted)) > MAX_RUN_BYTES
        if self._temporary:
            self.path = Path(tempfile.mkdtemp(prefix="tausestack-", dir="/tmp"))
            return
        self.path = wanted
        if wanted.is_dir():
            shutil.rmtree(wanted)
        wanted.mkdir(mode=0o700)

    def bind(self, path: Path) -> socket.socket:
        """Return a listening, non-blocking Unix socket at a path of the folder."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        return listener

    def remove(self) -> None:
        """Remove the folder with every socket in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def raise_file_limit() -> None:
    """Allow as many open files as the hard limit lets, since each tenant and connection costs some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
