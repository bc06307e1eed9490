"""Files that `tausestack new` begins with; `@NAME@` stands for the name that it is given."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

Kind = Literal["agent", "agent_in_code"]
NAME, MODULE = "@NAME@", "@MODULE@"


def write(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write a scaffold into a new folder and return its files; raises `FileExistsError` where the folder is there."""
    folder.mkdir(parents=True)
    module = name.replace("-", "_")
    if not module[0].isalpha():
        module = f"agent_{module}"  # a module's name begins with a letter
    written: list[Path] = []
    for source in sorted(files("tausestack_runtime.scaffolds").joinpath(kind).iterdir(), key=lambda one: one.name):
        path = folder / source.name.replace("MODULE", module).removesuffix(".txt")
        text = source.read_text("utf-8").replace(NAME, name).replace(MODULE, module)
        path.write_text(text, "utf-8")
        written.append(path)
    return written
