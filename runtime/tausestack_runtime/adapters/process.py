"""One third-party process: started in the sandbox, its stderr drained to the log, ended with all that it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tausestack.errors import Unavailable
from tausestack_runtime.adapters import sandbox
from tausestack_runtime.adapters.framing import CHUNK_BYTES

LOG_BYTES = 64 * 1024
"""How much of a process's stderr is logged; the rest is read and dropped."""
LOG_LINE_BYTES = 2048
STOP_SECONDS = 2.0


class Log(Protocol):
    """Where a process's stderr goes."""

    def info(self, event: str, /, **fields: object) -> object:
        """Log one event."""
        ...


@dataclass(frozen=True)
class Launch:
    """How to start an installed server, as the registry says."""

    registry_type: str
    identifier: str
    version: str
    argv: tuple[str, ...]
    """For a Python package: its entry point (`module:function`), then the arguments."""
    store: str
    """The package's folder, relative to the store."""
    env: Mapping[str, str]
    """What is set in its environment: configuration and secrets."""
    pins: Mapping[str, str] | None = None
    """Hashes of the approved tools by name; None: nothing is pinned yet."""


class Child:
    """A running third-party process and its pipes."""

    def __init__(self, process: asyncio.subprocess.Process, prepared: sandbox.Prepared, log: Log) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        self._process, self._prepared = process, prepared
        self._draining = asyncio.create_task(_drain(process.stderr, log))

    @classmethod
    async def start(cls, launch: Launch, store: Path, tier: sandbox.Tier, log: Log) -> Child:
        """Start a server in the sandbox, or raise `Unavailable`."""
        folder = await asyncio.to_thread(_stored, store, launch)
        command = sandbox.python_command(folder / "site", launch.argv[0], launch.argv[1:])
        prepared = sandbox.prepare(tier, command, readable=[folder], env=launch.env)
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
        return cls(process, prepared, log)

    @property
    def pid(self) -> int:
        """The process that stands for the whole sandbox."""
        return self._process.pid

    async def stop(self) -> int:
        """End the process and everything that it started, and return its exit code."""
        self.stdin.close()
        # Some versions of asyncio report the end only once the pipes are read to theirs.
        emptying = asyncio.create_task(_empty(self.stdout))
        # The end of its input asks it to go; the group and the sandbox's own namespace take what does not.
        try:
            await asyncio.wait_for(self._process.wait(), 0.2)
        except TimeoutError:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._signal(signal.SIGKILL)
        code = await self._process.wait()
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
    if not folder.is_relative_to(store.resolve()) or not (folder / "site").is_dir():
        raise Unavailable(f"{launch.identifier} {launch.version} is not in the store any more: install it again")
    return folder


async def _empty(pipe: asyncio.StreamReader) -> None:
    while await pipe.read(CHUNK_BYTES):
        continue


async def _drain(stderr: asyncio.StreamReader, log: Log) -> None:
    left = LOG_BYTES
    pending = b""
    while chunk := await stderr.read(CHUNK_BYTES):
        if left <= 0:
            continue
        *whole, pending = (pending + chunk).split(b"\n")
        if len(pending) > LOG_LINE_BYTES:
            whole, pending = [*whole, pending], b""
        for line in whole:
            if left > 0 and line.strip():
                log.info("stderr", text=line[:LOG_LINE_BYTES].decode(errors="replace"))
                left -= min(len(line), LOG_LINE_BYTES)
                if left <= 0:
                    log.info("stderr", text="… the rest is dropped")
