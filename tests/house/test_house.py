"""The house's own rules, held by tests: sizes, names, layers, one version, nothing heavy in the hall."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("sdk", "runtime", "registry", "agents", "toolservers")
MAX_LINES = 500
BANNED_NAMES = {"manager", "helper", "helpers", "utils", "util", "core", "common", "base", "misc", "handler2", "info"}
HEAVY = {"fastapi", "langgraph", "litellm", "sqlalchemy", "mcp", "pydantic_ai", "starlette"}


def tracked(*suffixes: str) -> list[Path]:
    """Return the files of the project with these suffixes; in a checkout those that git knows or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [ROOT / name for name in listed if name.endswith(suffixes) and (ROOT / name).is_file()]


@pytest.mark.covers("house:file-size")
def test_no_source_file_is_over_500_lines() -> None:
    sources = [path for path in tracked(".py") if "migrations" not in path.parts]
    assert sources
    over = {str(path.relative_to(ROOT)): n for path in sources if (n := len(path.read_text().splitlines())) > MAX_LINES}
    assert over == {}


@pytest.mark.covers("house:names")
def test_modules_have_names_that_say_something() -> None:
    modules = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert modules
    assert [str(path.relative_to(ROOT)) for path in modules if path.stem.lstrip("_") in BANNED_NAMES] == []


@pytest.mark.covers("house:layers")
def test_every_room_opens_only_onto_the_hall() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.covers("house:light-import")
def test_importing_tausestack_pulls_in_nothing_heavy() -> None:
    program = "import sys, tausestack; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "tausestack" in done.stdout.split()
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.covers("house:one-version")
def test_the_version_is_said_once() -> None:
    from tausestack.contract import VERSION

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert declared == VERSION
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.covers("house:hashed-lock")
@pytest.mark.parametrize("name", ["server.lock", "dev.lock", "peers.lock", "peers-v1.lock"])
def test_locks_have_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, re.MULTILINE)
    assert len(pins) > 30
    assert text.count("--hash=sha256:") >= len(pins)
    assert re.search(r"https?://|--index-url|--find-links", text) is None
    assert not (ROOT / "uv.lock").exists()


@pytest.mark.covers("house:hashed-lock")
def test_the_lock_of_node_packages_has_hashes_and_no_addresses() -> None:
    lock = json.loads((ROOT / "requirements" / "node" / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert len(packages) > 100
    assert [name for name, entry in packages.items() if not entry.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []


@pytest.mark.covers("house:adr-numbers")
def test_decisions_have_unique_numbers_and_three_parts() -> None:
    records = sorted((ROOT / "docs" / "adrs").glob("*.md"))
    numbers = [path.name[:4] for path in records]
    assert len(records) >= 3
    assert len(set(numbers)) == len(numbers)
    for path in records:
        text = path.read_text()
        assert all(f"## {part}" in text for part in ("Context", "Decision", "Consequences")), path.name


@pytest.mark.covers("house:no-unfinished")
def test_nothing_is_left_unfinished() -> None:
    marks = re.compile(
        r"\b(TODO|FIXME|XXX|NotImplementedError)\b|^\s*except\b.*:\s*pass\s*$|^\s*pass\s*(#.*)?$", re.MULTILINE
    )
    found = {
        str(path.relative_to(ROOT)): marks.findall(text)
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if marks.search(text := path.read_text())
    }
    assert found == {}


@pytest.mark.covers("house:no-machine-paths")
def test_nothing_names_a_machine() -> None:
    marks = re.compile(r"(?<![\w./-])/(work|farm|root|home/\w+)/")
    texts = {path: path.read_text() for path in tracked(".py", ".md", ".toml", ".sh", ".lock", "Makefile", ".html")}
    assert texts
    assert [
        str(path.relative_to(ROOT)) for path, text in texts.items() if path != Path(__file__) and marks.search(text)
    ] == []


@pytest.mark.covers("house:one-http-client")
def test_no_room_mixes_the_two_http_clients() -> None:
    mark = re.compile(r"^\s*(import httpx|from httpx import)\b(?!2)", re.MULTILINE)
    sources = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert [str(path.relative_to(ROOT)) for path in sources if mark.search(path.read_text())] == []
