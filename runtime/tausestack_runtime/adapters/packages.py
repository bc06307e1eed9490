"""The store of fetched packages: each whole in a folder of its own, with a record of what was fetched, and by what."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tausestack.errors import InvalidArguments, Unavailable

FETCH_SECONDS = 120.0
RECORD = "package.json"
_PROGRAM = re.compile(rb"\x7fELF|#!")
"""How a file begins that can be run."""


@dataclass(frozen=True)
class Package:
    """A package in the store."""

    identifier: str
    version: str
    entry: str
    """What starts it: of a Python package `module:function` or `bin/program`, of an npm one its script's path in it."""
    store: str
    """Its folder, relative to the store."""
    wheels: dict[str, str]
    """The hash of everything that was unpacked: SHA-256 of each wheel by file name, or npm's own integrity by path."""


class Said(NamedTuple):
    """What a fetcher said, and how it ended: 0 is well."""

    status: int
    output: str
    errors: str


async def fetcher(index: str, *command: str, environment: Mapping[str, str]) -> Said:
    """Run what fetches from an index to its end; raises `Unavailable` where that does not come in time."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment}, start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(FETCH_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise Unavailable(f"the {index} index did not answer within {FETCH_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Said(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


def recorded(folder: Path) -> Package | None:
    """Return the package in a folder of the store, or None where there is none."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        return None
    return Package(**record)


def keep(ready: Path, store: Path, package: Package) -> Package:
    """Move a package that is ready into the store, at once; where another start was faster, return what is there."""
    final = store / package.store
    _make_programs_executable(ready)
    (ready / RECORD).write_text(json.dumps(asdict(package), indent=2, sort_keys=True))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(ready, final)  # noqa: PTH104 atomic, and refuses a folder that is there
    except OSError:
        known = recorded(final)
        if known is None:
            raise
        return known
    return package


def server_of(package: str, version: str, name: str, commands: Mapping[str, str]) -> str:
    """Return what is behind the one of a package's commands that starts its server, `name` being the package's own.

    It bears that name, or that name as a server's; else it is the only one that says MCP, or the only one at all.
    Raises `InvalidArguments` where none is.
    """
    for called in (name, f"mcp-{name}", f"{name}-mcp", f"{name}-server", f"{name}-mcp-server"):
        if called in commands:
            return commands[called]
    likely = [target for command, target in commands.items() if "mcp" in command.lower()]
    for found in (likely, list(commands.values())):
        if len(set(found)) == 1:
            return found[0]
    if commands:
        several = ", ".join(sorted(commands))[:200]
        raise InvalidArguments(f"{package} {version} has several commands, and none of its name: {several}")
    raise InvalidArguments(f"{package} {version} has no command that starts a server: it is a library")


def _make_programs_executable(folder: Path) -> None:
    """Let the programs that a package carries be run: where it is kept, their wrappers can't see to that any more."""
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) and not mode & stat.S_IXUSR:
                with path.open("rb") as file:
                    program = _PROGRAM.match(file.read(4))
                if program:
                    path.chmod(mode | 0o111)


@asynccontextmanager
async def workplace(store: Path) -> AsyncGenerator[Path]:
    """Give a folder beside the store's packages to prepare one in, and remove what is left of it."""
    await asyncio.to_thread(lambda: store.mkdir(parents=True, exist_ok=True, mode=0o700))
    work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".fetch-", dir=store))
    try:
        yield work
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
