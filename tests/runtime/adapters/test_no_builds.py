"""A package that would have pip build something: refused, and none of it runs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tausestack.errors import InvalidArguments, NotFound
from tausestack_runtime.adapters.fetch import fetch_python

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

BUILD = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def wheel(folder: Path, name: str, requires: str) -> None:
    """Write a wheel that depends on something."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "def main(): ...\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {requires}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))


@pytest.mark.covers("adapters:no-builds")
async def test_a_dependency_by_address_is_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, source, ran = tmp_path / "index", tmp_path / "source", tmp_path / "ran"
    index.mkdir()
    source.mkdir()
    (source / "pyproject.toml").write_text(BUILD)
    (source / "backend.py").write_text(f"open({str(ran)!r}, 'w')\n")
    wheel(index, "hostile", f"dependency @ {source.as_uri()}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(InvalidArguments, match="nothing is built"):
        await fetch_python(tmp_path / "store", "hostile", "1.0")
    assert not ran.exists()


@pytest.mark.covers("adapters:other-python")
async def test_a_package_for_another_python_is_refused_saying_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path, "newer", "newer")
    page = tmp_path / "index.html"
    page.write_text('<a href="newer-1.0-py3-none-any.whl" data-requires-python="&gt;=3.99">newer</a>')
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", page.as_uri())
    with pytest.raises(NotFound, match=r"newer: it wants Python >=3\.99, and this is 3\."):
        await fetch_python(tmp_path / "store", "newer", None)


@pytest.mark.covers("adapters:no-builds")
async def test_what_has_no_wheel_is_named_where_another_package_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path, "asking", "only_source")
    (tmp_path / "only_source-1.0.tar.gz").write_bytes(b"")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(
        InvalidArguments, match=r"needs only_source, of which the index has no wheel for Python 3\.\d+: "
    ):
        await fetch_python(tmp_path / "store", "asking", None)
