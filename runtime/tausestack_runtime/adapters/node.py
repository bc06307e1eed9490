"""The machine's own Node, for servers that are npm packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tausestack.errors import Unavailable


def find(program: str = "node") -> Path:
    """Return where `node`, or another program that comes with it, is, or raise `Unavailable`."""
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"npm packages need Node, and there is no '{program}' here: install Node 20 or later")
    return Path(found) if program != "node" else Path(os.path.realpath(found))


def needs(program: Path) -> list[Path]:
    """Return what the program has to read to run, beside the system's own folders: itself, and its libraries.

    Not all that lies beside it: a Node in somebody's home would show the home.
    """
    if program.is_relative_to("/usr"):
        return []
    libraries = program.parent.parent / "lib"
    return [program, libraries] if libraries.is_dir() else [program]
