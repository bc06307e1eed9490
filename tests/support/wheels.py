"""Packages of a test's own, as somebody would publish them: wheels in a folder, which pip takes for an index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def publish(
    folder: Path,
    name: str,
    module: Path,
    *,
    version: str = "1.0",
    requires: Sequence[str] = (),
    commands: Sequence[str] | None = None,
    programs: Mapping[str, bytes] | None = None,
    data: Mapping[str, bytes] | None = None,
) -> Path:
    """Put a wheel into a folder: one module, whose `main` is the command that bears the package's name, or `commands`.

    `programs` it carries beside as commands, and `data` as files by path.
    """
    scripts = "".join(f"{command} = {module.stem}:main\n" for command in ([name] if commands is None else commands))
    required = "".join(f"Requires-Dist: {each}\n" for each in requires)
    info = f"{name}-{version}.dist-info"
    files = {
        module.name: module.read_bytes(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}".encode(),
        **(data or {}),
        **{f"{name}-{version}.data/scripts/{program}": content for program, content in (programs or {}).items()},
    }
    record = [f"{path},sha256={_hash(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
