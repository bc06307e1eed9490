"""Archives as tests read, make and spoil them, and installations that no stack runs on."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from stack import TAUSESTACK
from tausestack_runtime.keys import Masters
from tausestack_runtime.life.archive import ArchiveWriter, Kind, open_archive
from tausestack_runtime.life.archive_keys import ArchiveKeys, keys_for
from tausestack_runtime.life.exporting import export_tenant
from tausestack_runtime.life.here import Here
from tausestack_runtime.life.importing import import_tenant
from tausestack_runtime.settings import read_settings

PASSPHRASE = "correct horse battery staple"

T = TypeVar("T")


def read(path: Path) -> dict[str, list[bytes]]:
    """Return the lines of an archive's parts, as anybody's tar and gzip give them."""
    found: dict[str, list[bytes]] = {}
    with tarfile.open(path) as archive:
        for one in archive.getmembers():
            if one.name.endswith(".gz"):
                _, group, part, *_ = one.name.split(".")
                raw = archive.extractfile(one)
                assert raw is not None
                found.setdefault(f"{group}.{part}", []).extend(gzip.decompress(raw.read()).splitlines())
    return found


def manifest(path: Path) -> dict[str, Any]:
    """Return what an archive says of itself."""
    with tarfile.open(path) as archive:
        raw = archive.extractfile("manifest.json")
        assert raw is not None
        return json.loads(raw.read())


def plain(path: Path) -> bytes:
    """Return all bytes that are in an archive, unpacked, and its own."""
    return path.read_bytes() + b"\n".join(line for lines in read(path).values() for line in lines)


def written(
    path: Path, tenants: list[dict[str, Any]], parts: dict[tuple[int, str], list[bytes]], kind: Kind = "tenant"
) -> Path:
    """Write an archive with a good seal, of whatever is given."""
    with path.open("wb") as file:
        archive = ArchiveWriter(file, ArchiveKeys.of_passphrase(PASSPHRASE))
        archive.begin(kind, "2026-11-26T00:00:00+00:00")
        for (group, part), lines in parts.items():
            for line in lines:
                archive.add(group, part, line)
            archive.end(group, part)
        archive.finish(tenants)
    return path


def changed(path: Path, to: Path, change: Callable[[dict[str, Any], dict[tuple[int, str], list[bytes]]], None]) -> Path:
    """Write an archive anew under its own seal, with something in its first tenant or its parts changed."""
    parts = {(int(name.split(".")[0]), name.split(".")[1]): lines for name, lines in read(path).items()}
    tenants = manifest(path)["tenants"]
    change(tenants[0], parts)
    return written(to, tenants, parts)


def member(name: str, content: bytes, **about: Any) -> bytes:
    """Return a member of a tar, with whatever in its header."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    for field, value in about.items():
        setattr(info, field, value)
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
        end = archive.offset
    return whole.getvalue()[:end]


class Installation:
    """A data folder, and perhaps a database, on which no stack runs."""

    def __init__(self, data: Path, url: str | None = None) -> None:
        self.data, self.url = data, url

    def founded(self) -> Installation:
        """Make it one: with a master secret of its own."""
        self.data.mkdir(mode=0o700)
        Masters(self.data)
        return self

    def take(self, file: Path, name: str | None = None) -> dict[str, Any]:
        """Import an archive, as the command does, in this process."""

        async def work(here: Here) -> dict[str, Any]:
            archive = open_archive(file, "tenant", lambda told: keys_for(told, PASSPHRASE, here.masters.live()))
            return await import_tenant(here, archive, name)

        return self.within(work)

    def give(self, name: str, file: Path) -> Path:
        """Export a tenant, as the command does, in this process."""

        async def work(here: Here) -> dict[str, Any]:
            with file.open("xb") as sink:
                return await export_tenant(here, name, ArchiveWriter(sink, ArchiveKeys.of_passphrase(PASSPHRASE)))

        self.within(work)
        return file

    def within(self, work: Callable[[Here], Coroutine[Any, Any, T]]) -> T:
        """Do something with what it keeps."""
        settings = read_settings(data=self.data, database_url=self.url)

        async def run() -> T:
            here = Here(settings, Masters.of(settings, make=False))
            try:
                return await work(here)
            finally:
                await here.aclose()

        return asyncio.run(run())

    def command(self, *arguments: str, **environment: str) -> tuple[list[str], dict[str, str]]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.data),
            "TAUSESTACK_DATA": str(self.data),
            "TAUSESTACK_PASSPHRASE": PASSPHRASE,
            **({"TAUSESTACK_DATABASE_URL": self.url} if self.url else {}),
            **environment,
        }
        return [str(TAUSESTACK), *arguments], env

    def cli(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on it."""
        command, env = self.command(*arguments, **environment)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)
        assert not check or done.returncode == 0, done.stderr
        return done

    def must(self, *arguments: str) -> Any:
        """Run a command on it and return what it printed."""
        return json.loads(self.cli(*arguments, "--json").stdout)

    @contextmanager
    def running(self, *arguments: str) -> Generator[subprocess.Popen[bytes]]:
        """Run a command on it, to be killed."""
        command, env = self.command(*arguments)
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
