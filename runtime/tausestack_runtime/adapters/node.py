"""The machine's own Node, for servers that are npm packages."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

from tausestack.errors import Unavailable

_SMALL_MEMORIES = "--disable-wasm-trap-handler"
"""Has WebAssembly, with which Node's own `fetch` reads, do without 10 GB of addresses for each memory."""


def find(program: str = "node") -> Path:
    """Return where `node`, or another program that comes with it, is, or raise `Unavailable`."""
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"npm packages need Node, and there is no '{program}' here: install Node 20 or later")
    return Path(found) if program != "node" else Path(os.path.realpath(found))


@functools.lru_cache(maxsize=4)
def options(program: Path) -> tuple[str, ...]:
    """Return what Node is given before a server's script, as far as this one knows it: 20.15 and 22.2 brought it."""
    tried = [program, _SMALL_MEMORIES, "--version"]
    known = subprocess.run(tried, env={}, capture_output=True, check=False)  # noqa: S603 our own words
    return (_SMALL_MEMORIES,) if known.returncode == 0 else ()


def needs(program: Path) -> list[Path]:
    """Return what the program has to read to run, beside the system's own folders: itself, and its libraries.

    Not all that lies beside it: a Node in somebody's home would show the home.
    """
    if program.is_relative_to("/usr"):
        return []
    libraries = program.parent.parent / "lib"
    return [program, libraries] if libraries.is_dir() else [program]
