"""Fetching a package into the store: wheels only, so that nothing third-party runs; hashed, compiled, moved at once."""

from __future__ import annotations

import asyncio
import configparser
import csv
import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tausestack.errors import InvalidArguments, NotFound, Unavailable
from tausestack_runtime.adapters.packages import Package, fetcher, keep, recorded, server_of, workplace
from tausestack_runtime.adapters.requirements import bounds_of

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_BUILDS = "only wheels are taken, and nothing is built"

# A wheel may name a dependency by its address, and pip would run that one's build, whatever --only-binary says. A build
# is always another process, so pip gets none.
_WITHOUT_BUILDS = f"""\
import runpy, sys
def refuse(event, arguments):
    if event in {{"subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system"}}:
        raise PermissionError("{_BUILDS}")
sys.addaudithook(refuse)
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_OTHER_PYTHON = re.compile(r"Requires-Python ([<>=!~0-9.,* ]{1,60})")
_NONE_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.!+_-]{0,62}[0-9A-Za-z])?")


def normalised(identifier: str) -> str:
    """Return the normal form of a Python package's name, or raise `InvalidArguments`."""
    if _NAME.fullmatch(identifier) is None:
        raise InvalidArguments(f"'{identifier[:80]}' is no Python package's name")
    return re.sub(r"[-_.]+", "-", identifier).lower()


async def fetch_python(
    store: Path, identifier: str, version: str | None, wheels: Mapping[str, str] | None = None
) -> Package:
    """Return a package of the store, fetching it with all that it needs from the package index where it isn't there.

    Without a version the newest is taken. What it needs is chosen anew, unless `wheels` says of which files it was; the
    newest, but of the libraries that servers are written with the release that it was written for (`bounds_of`).
    Raises `NotFound` where the index has none, `Unavailable` where the index does not answer, `InvalidArguments` for a
    package that is no server.
    """
    name = normalised(identifier)
    if version is not None:
        if _VERSION.fullmatch(version) is None:
            raise InvalidArguments(f"'{version[:80]}' is no exact version")
        known = await asyncio.to_thread(recorded, store / _folder(name, version))
        if known is not None:
            return known
    async with workplace(store) as work:
        return await _fetch(store, work, name, version, wheels or {})


async def _fetch(store: Path, work: Path, name: str, version: str | None, known_wheels: Mapping[str, str]) -> Package:
    wheels, ready = work / "wheels", work / "ready"
    exact = [_requirement(file) for file in known_wheels]
    if exact:
        await _download(wheels, *exact, alone=True)
    else:
        # Its own wheel alone says whether the rest has to be fetched, and of what time that is.
        own = work / "own"
        await _download(own, name if version is None else f"{name}=={version}", alone=True)
        if version is None:
            version = _version_of(own, name)
            known = await asyncio.to_thread(recorded, store / _folder(name, version))
            if known is not None:
                return known
        of_its_time = [bound for file in own.glob("*.whl") for bound in bounds_of(file)]
        await _download(wheels, f"{name}=={version}", *of_its_time)
    # As the wheel spells it: 1.0 and 1.0.0 are one.
    version = _version_of(wheels, name)
    files = sorted(wheels.glob("*.whl"))
    site = ready / "site"
    # Not compiled by pip: it would compile for its own folder's path.
    await _pip(
        "install", "--no-index", "--no-deps", "--no-compile", "--no-warn-script-location", "--target", str(site),
        *(str(file) for file in files),
    )  # fmt: skip
    return await asyncio.to_thread(_keep, store, ready, name, version, files)


def _keep(store: Path, ready: Path, name: str, version: str, files: list[Path]) -> Package:
    import compileall  # only where something was fetched

    site = ready / "site"
    entry = _entry_point(site, name, version)
    folder = _folder(name, version)
    final = store / folder
    # A read-only store never gets compiled files later, and without them a start takes twice as long.
    compileall.compile_dir(site, quiet=2, stripdir=str(site), prependdir=str(final / "site"), workers=1)
    wheels = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    package = Package(identifier=name, version=version, entry=entry, store=folder, wheels=wheels)
    return keep(ready, store, package)


def _requirement(file: str) -> str:
    """Return the exact version of the index that a wheel is of, or raise `InvalidArguments` where it names none."""
    name, _, rest = file.partition("-")
    version = rest.partition("-")[0]
    if _VERSION.fullmatch(version) is None:
        raise InvalidArguments(f"'{file[:80]}' is no wheel's name")
    return f"{normalised(name)}=={version}"


def _version_of(wheels: Path, name: str) -> str:
    found = next((file for file in wheels.glob("*.whl") if normalised(file.name.split("-")[0]) == name), None)
    if found is None:
        raise NotFound(f"the package index has no wheel of {name}")
    return found.name.split("-")[1]


def _folder(name: str, version: str) -> str:
    """Return where a package is kept; its compiled parts fit one kind of interpreter."""
    return f"pypi/{name}/{version}/{sys.implementation.cache_tag}"


def _entry_point(site: Path, name: str, version: str) -> str:
    """Return what is behind the command that starts a package's server.

    Commands are its console scripts (`module:function`), and the programs that its wheel carries (`bin/program`).
    """
    found = [path for path in site.glob("*.dist-info") if normalised(path.name.split("-")[0]) == name]
    commands = {**_programs(found[0]), **_console_scripts(found[0])} if found else {}
    return server_of(name, version, name, {normalised(command): target for command, target in commands.items()})


def _console_scripts(info: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(delimiters=("=",))
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] how configparser keeps capitals
    listed = info / "entry_points.txt"
    if listed.is_file():
        parser.read_string(listed.read_text())
    scripts = dict(parser.items("console_scripts")) if parser.has_section("console_scripts") else {}
    return {script: target.partition("[")[0].replace(" ", "") for script, target in scripts.items()}


def _programs(info: Path) -> dict[str, str]:
    """Return what a wheel put where commands are: servers written in Go or Rust are published like that."""
    with (info / "RECORD").open(newline="", encoding="utf-8") as record:
        paths = [PurePosixPath(row[0]) for row in csv.reader(record) if row]
    names = [path.name for path in paths if path.parts[0] == ".." and path.parts[-2:-1] == ("bin",)]
    return {name: f"bin/{name}" for name in names if _NAME.fullmatch(name) and (info.parent / "bin" / name).is_file()}


async def _download(folder: Path, *wanted: str, alone: bool = False) -> None:
    """Download wheels of the index, `alone` without what they need."""
    needs = ["--no-deps"] if alone else []
    await _pip("download", "--only-binary", ":all:", *needs, "--dest", str(folder), "--", *wanted)


async def _pip(*arguments: str) -> None:
    status, _, text = await fetcher(
        "package", sys.executable, "-c", _WITHOUT_BUILDS, "--disable-pip-version-check", "--no-input", "--quiet",
        *arguments, environment={"PIP_REQUIRE_VIRTUALENV": "0"},
    )  # fmt: skip
    if status == 0:
        return
    if "No module named pip" in text:
        raise Unavailable("packages can't be fetched: this Python has no pip")
    if _BUILDS in text:
        raise InvalidArguments(f"the package needs what is no wheel: {_BUILDS}")
    said = [line for line in text.splitlines() if line.startswith("ERROR")]
    reason = said[-1].removeprefix("ERROR: ")[:300] if said else f"pip ended with {status}"
    missing = _NONE_FOUND.search(text)
    if missing is not None and "Connection" not in text and "Retrying" not in text:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if not any(re.split("[=<>!~]", word)[0] == normalised(missing[1]) for word in arguments):
            raise InvalidArguments(
                f"the package needs {missing[1]}, of which the index has no wheel for Python {here}: {_BUILDS}"
            )
        wanted = _OTHER_PYTHON.findall(text)
        raise NotFound(f"{reason}: it wants Python {wanted[-1]}, and this is {here}" if wanted else reason)
    raise Unavailable(f"the package can't be fetched: {reason}")
