"""Files that `tausestack new` begins with; `@NAME@` stands for the name that it is given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from typing import Literal

Kind = Literal["agent", "agent_in_code", "server", "plugin"]
NAME, MODULE = "@NAME@", "@MODULE@"


def write(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write a scaffold into a new folder and return its files; raises `FileExistsError` where the folder is there."""
    folder.mkdir(parents=True)
    module = name.replace("-", "_")
    if not module[0].isalpha() or _is_taken(module):
        module = f"{kind.partition('_')[0]}_{module}"  # a module's name begins with a letter
    written: list[Path] = []
    for place, source in _files(files(__name__).joinpath(kind), Path()):
        path = folder / str(place).replace("MODULE", module).removesuffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text("utf-8").replace(NAME, name).replace(MODULE, module)
        path.write_text(text, "utf-8")
        written.append(path)
    return written


def _is_taken(module: str) -> bool:
    """Return whether a module of this name could not be imported, or would stand in the place of another."""
    if iskeyword(module) or module in sys.stdlib_module_names:
        return True
    found = find_spec(module)
    return found is not None and found.origin is not None  # a mere folder stands in nobody's way


def _files(within: Traversable, at: Path) -> Iterator[tuple[Path, Traversable]]:
    """Yield the files of a folder and of those in it, each with its place."""
    for one in sorted(within.iterdir(), key=lambda each: each.name):
        if one.is_dir():
            yield from _files(one, at / one.name)
        else:
            yield at / one.name, one
