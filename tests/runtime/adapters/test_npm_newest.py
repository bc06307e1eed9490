"""Which version of an npm package is taken where none is named, from an index of the test's own."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tausestack_runtime.adapters.fetch_npm import fetch_npm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ENGINES = {"1.0.0": ">=1", "1.1.0": ">=1", "2.0.0": ">=999"}


def tarball(manifest: dict[str, Any]) -> bytes:
    """Return a package of a manifest and one script."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in {"package.json": json.dumps(manifest), "server.js": ""}.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    return packed.getvalue()


@pytest.fixture
def index() -> Iterator[str]:
    """An index of one package, `modern`, the newest version of which needs a Node that nobody has."""
    pages: dict[str, bytes] = {}

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.send_header("content-length", str(len(page or b"")))
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    url = f"http://127.0.0.1:{server.server_port}"
    versions: dict[str, Any] = {}
    for version, node in ENGINES.items():
        manifest = {"name": "modern", "version": version, "engines": {"node": node}, "bin": "server.js"}
        packed = pages[f"/modern/-/modern-{version}.tgz"] = tarball(manifest)
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(packed).digest()).decode()}"
        dist = {"tarball": f"{url}/modern/-/modern-{version}.tgz", "integrity": integrity}
        versions[version] = {**manifest, "dist": dist}
    listed = {"name": "modern", "dist-tags": {"latest": "2.0.0"}, "versions": versions}
    pages["/modern"] = json.dumps(listed).encode()
    threading.Thread(target=server.serve_forever).start()
    yield url
    server.shutdown()
    server.server_close()


@pytest.mark.covers("adapters:npm-newest")
async def test_the_newest_version_that_this_node_runs_is_taken(
    tmp_path: Path, index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", index)
    monkeypatch.setenv("NPM_CONFIG_CACHE", str(tmp_path / "cache"))
    package = await fetch_npm(tmp_path / "store", "modern", None)
    assert (package.version, package.entry) == ("1.1.0", "node_modules/modern/server.js")
    assert (await fetch_npm(tmp_path / "store", "modern", "2.0.0")).version == "2.0.0"
