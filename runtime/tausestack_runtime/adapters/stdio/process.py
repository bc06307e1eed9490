"""One third-party process: started in the sandbox, its stderr drained to the log, ended with all that it started."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tausestack.errors import Unavailable
from tausestack_runtime.adapters import node, sandbox
from tausestack_runtime.adapters.launches import Launch
from tausestack_runtime.adapters.stdio.framing import CHUNK_BYTES
from tausestack_runtime.adapters.stdio.redaction import Redaction

LOG_BYTES = 64 * 1024
"""How much of a process's stderr is logged; the rest is read and dropped."""
LOG_LINE_BYTES = 2048
STOP_SECONDS = 2.0
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""How the process ends that stands for the sandbox, where it or what it holds is killed."""
LAST_WORDS = 200
"""Characters of the line that is quoted of a server that does not start."""
_OURS = ("sandbox: ", "bwrap: ")
_ERROR = re.compile(r"(?:\S.*?: )?[\w.]*(?:Error|Exception)\b")
"""How the line of an error begins, after which some runtimes print more."""

_NETWORK = re.compile(
    r"fetch failed|getaddrinfo|ENOTFOUND|EAI_AGAIN|ENETUNREACH|Network is unreachable|name resolution|Name or service"
)
"""What programs say that miss the network."""


class Log(Protocol):
    """Where a process's stderr goes."""

    def info(self, event: str, /, **fields: object) -> object:
        """Log one event."""
        ...


class LastWords:
    """What a process said last on its stderr: the last error that it named, else its last line."""

    def __init__(self, store: Path) -> None:
        self._store = str(store)
        self._last = self._error = ""

    def __str__(self) -> str:
        """The line, clipped and in printable characters; without the sandbox's own and where the store is."""
        line = (self._error or self._last).replace(self._store, "…")
        said = "".join(one if one.isprintable() else " " for one in line)[:LAST_WORDS]
        return f"{said} (a sandbox has no network)" if _NETWORK.search(said) else said

    def hear(self, line: str) -> None:
        """Take the next line."""
        if not line.startswith(_OURS):
            self._last = line.strip()
            self._error = self._last if _ERROR.match(line) else self._error


class Child:
    """A running third-party process and its pipes."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        prepared: sandbox.Prepared,
        log: Log,
        folder: Path | None,
        redaction: Redaction,
        store: Path,
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        self.folder = folder
        """What it may write and keep."""
        self._process, self._prepared = process, prepared
        self.words = LastWords(store)
        self.killed = False
        """Whether it was killed, and not by us: by a person, or by the kernel where memory ran out."""
        self._draining = asyncio.create_task(drain(process.stderr, log, redaction, self.words.hear))

    @classmethod
    async def start(
        cls, launch: Launch, store: Path, tier: sandbox.Tier, log: Log, folder: Path | None = None
    ) -> Child:
        """Start a server in the sandbox, `folder` being what it may write and keep, or raise `Unavailable`."""
        package = await asyncio.to_thread(_stored, store, launch)
        command, readable = await asyncio.to_thread(_command, launch, package)
        prepared = sandbox.prepare(tier, command, readable=readable, env=launch.env, folder=folder)
        try:
            process = await asyncio.create_subprocess_exec(
                *prepared.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={},
                cwd="/",
                pass_fds=prepared.pass_fds,
                start_new_session=True,
                limit=CHUNK_BYTES,
            )
        except OSError as error:
            prepared.close()
            raise Unavailable(f"the sandbox can't be started: {error.strerror}") from error
        prepared.started()
        return cls(process, prepared, log, folder, Redaction(launch.secrets), store)

    @property
    def pid(self) -> int:
        """The process that stands for the whole sandbox."""
        return self._process.pid

    async def stop(self) -> int:
        """End the process and everything that it started, and return its exit code."""
        self.stdin.close()
        # Some versions of asyncio report the end only once the pipes are read to theirs.
        emptying = asyncio.create_task(_empty(self.stdout))
        insisted = False
        # The end of its input asks it to go; the group and the sandbox's own namespace take what does not.
        try:
            await asyncio.wait_for(self._process.wait(), 0.2)
        except TimeoutError:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                insisted = True
                self._signal(signal.SIGKILL)
        code = await self._process.wait()
        self.killed = code in _KILLED and not insisted
        self._signal(signal.SIGKILL)
        await asyncio.gather(emptying, self._draining)
        self._prepared.close()
        return code

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def _stored(store: Path, launch: Launch) -> Path:
    folder = (store / launch.store).resolve()
    kept = "site" if launch.registry_type == "pypi" else "node_modules"
    if not folder.is_relative_to(store.resolve()) or not (folder / kept).is_dir():
        raise Unavailable(f"{launch.identifier} {launch.version} is not in the store any more: install it again")
    return folder


def _command(launch: Launch, package: Path) -> tuple[list[str], list[Path]]:
    """Return the command that starts a package, and what it has to read for that."""
    entry, *arguments = launch.argv
    if launch.registry_type == "pypi":
        site = package / "site"
        if ":" in entry or _is_python(_inside(launch, site, entry)):
            return sandbox.python_command(site, entry, arguments), [package]
        return sandbox.program_command(site / entry, arguments), [package]
    script = _inside(launch, package, entry)
    program = node.find()
    words = [*node.options(program), str(script), *arguments]
    return sandbox.program_command(program, words), [package, *node.needs(program)]


def _inside(launch: Launch, folder: Path, entry: str) -> Path:
    """Return a file of the package's, or raise `Unavailable` where it has none there."""
    path = (folder / entry).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise Unavailable(f"{launch.identifier} {launch.version} has no {entry[:200]} in the store")
    return path


def _is_python(program: Path) -> bool:
    """Return whether a program is a script for Python: its first line names one that no sandbox has."""
    with program.open("rb") as file:
        return re.match(rb"#!.{0,400}python", file.read(500)) is not None


async def _empty(pipe: asyncio.StreamReader) -> None:
    while await pipe.read(CHUNK_BYTES):
        continue


async def drain(
    stderr: asyncio.StreamReader, log: Log, redaction: Redaction, heard: Callable[[str], None] | None = None
) -> None:
    """Log what a process writes to its stderr, line by line, without its secrets, and no more than a bound.

    `heard` is told each line too.
    """
    left = LOG_BYTES
    pending = b""
    while chunk := await stderr.read(CHUNK_BYTES):
        if left <= 0:
            continue
        *whole, pending = redaction(pending + chunk).split(b"\n")
        if len(pending) > LOG_LINE_BYTES + redaction.longest:
            cut = len(pending) - redaction.longest  # a secret may have begun there
            whole, pending = [*whole, pending[:cut]], pending[cut:]
        for line in whole:
            if left > 0 and line.strip():
                text = line[:LOG_LINE_BYTES].decode(errors="replace")
                log.info("stderr", text=text)
                if heard is not None:
                    heard(text)
                left -= min(len(line), LOG_LINE_BYTES)
                if left <= 0:
                    log.info("stderr", text="… the rest is dropped")
