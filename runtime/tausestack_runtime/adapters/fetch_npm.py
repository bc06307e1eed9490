"""Fetching an npm package into the store: nothing of it runs, neither its scripts nor git."""

from __future__ import annotations

import asyncio
import json
import platform
import re
import sys
from pathlib import Path, PurePosixPath
from typing import Any

from tausestack.errors import InvalidArguments, NotFound, Unavailable
from tausestack.raw import as_object, object_at, objects_in
from tausestack_runtime.adapters import node
from tausestack_runtime.adapters.packages import Package, fetcher, keep, recorded, server_of, workplace

_NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._~-]*/)?[a-z0-9][a-z0-9._~-]*")
_MAX_NAME = 214
_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}(?:[-+][0-9A-Za-z.+-]{1,64})?")
_WITHOUT_SCRIPTS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--git=/nonexistent")
# npm's own patience is longer than ours: its reason would never be heard.
_IMPATIENT = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000")


async def fetch_npm(store: Path, identifier: str, version: str | None) -> Package:
    """Return a package of the store, fetching it with all that it needs from the npm index where it isn't there.

    Without a version the newest that this Node can run is taken. Raises `NotFound` where the index has none,
    `Unavailable` where it does not answer or there is no Node, `InvalidArguments` for a package that is no server.
    """
    if len(identifier) > _MAX_NAME or _NAME.fullmatch(identifier) is None:
        raise InvalidArguments(f"'{identifier[:80]}' is no npm package's name")
    if version is not None and _VERSION.fullmatch(version) is None:
        raise InvalidArguments(f"'{version[:80]}' is no exact version")
    npm = node.find("npm")
    if version is None:
        version = await _newest(npm, identifier)
    known = await asyncio.to_thread(recorded, store / _folder(identifier, version))
    if known is not None:
        return known
    async with workplace(store) as work:
        ready = work / "ready"
        ready.mkdir()
        await asyncio.to_thread((ready / "package.json").write_text, '{"private": true}')
        await _npm(
            npm, "install", *_WITHOUT_SCRIPTS, *_IMPATIENT, "--save-exact", "--omit=dev", "--package-lock",
            "--loglevel=error", "--prefix", str(ready), "--", f"{identifier}@{version}",
        )  # fmt: skip
        return await asyncio.to_thread(_keep, store, ready, identifier, version)


async def _newest(npm: Path, identifier: str) -> str:
    """Return the version that npm itself would start here: the newest, or the newest that this Node can run."""
    asked = ("--dry-run", "--json", "--loglevel=error", "--", identifier)
    packed: Any = json.loads(await _npm(npm, "pack", *_WITHOUT_SCRIPTS, *_IMPATIENT, *asked))
    said = (objects_in(packed) or [{}])[0].get("version")
    if not isinstance(said, str) or _VERSION.fullmatch(said) is None:
        raise NotFound(f"the npm index names no newest version of {identifier}")
    return said


def _keep(store: Path, ready: Path, identifier: str, version: str) -> Package:
    lock = object_at(json.loads((ready / "package-lock.json").read_text()), "packages")
    hashes: dict[str, str] = {}
    for path, entry in lock.items():
        fields = as_object(entry) or {}
        if not path or fields.get("inBundle") is True:
            continue
        if not isinstance(fields.get("integrity"), str):
            raise InvalidArguments(f"{identifier} {version} needs {path[:120]}, which is not of the index")
        hashes[path] = fields["integrity"]
    entry_point = _entry(ready, identifier, version)
    package = Package(identifier, version, entry_point, _folder(identifier, version), hashes)
    return keep(ready, store, package)


def _entry(ready: Path, identifier: str, version: str) -> str:
    """Return the script of the command that starts a package's server."""
    home = PurePosixPath("node_modules", identifier)
    manifest = as_object(json.loads((ready / home / "package.json").read_text())) or {}
    listed: Any = manifest.get("bin")
    commands = {identifier: listed} if isinstance(listed, str) else as_object(listed) or {}
    scripts = {command: script for command, script in commands.items() if isinstance(script, str)}
    script = server_of(identifier, version, identifier.rpartition("/")[2], scripts)
    path = (ready / home / script).resolve()
    if not path.is_relative_to((ready / home).resolve()) or not path.is_file():
        raise InvalidArguments(f"{identifier} {version} names a command that it does not contain")
    return str(path.relative_to(ready.resolve()))


def _folder(identifier: str, version: str) -> str:
    """Return where a package is kept; its ready-made parts fit one kind of machine."""
    return f"npm/{identifier}/{version}/{sys.platform}-{platform.machine()}"


async def _npm(npm: Path, *arguments: str) -> str:
    status, output, text = await fetcher("npm", str(npm), *arguments, environment={"NO_UPDATE_NOTIFIER": "1"})
    if status == 0:
        return output
    said = [line.removeprefix("npm error ") for line in text.splitlines() if line.startswith("npm error ")]
    code = next((line.removeprefix("code ") for line in said if line.startswith("code ")), "")
    reason = next((line for line in said if not line.startswith("code ")), f"npm ended with {status}")[:300]
    if code in {"E404", "ETARGET"}:
        raise NotFound(f"the npm index has no such package: {reason}")
    if "/nonexistent" in text:
        raise InvalidArguments("the package needs what is not of the index")
    raise Unavailable(f"the package can't be fetched: {reason}")
