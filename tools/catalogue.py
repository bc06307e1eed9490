"""`python -m tools.catalogue`: write the catalogue's documents of our own services from the services themselves.

With `--check` nothing is written; the exit code says whether anything would change.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "registry" / "tausestack_registry" / "catalogue"
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
MAX_DESCRIPTION = 100

SERVERS = {
    "agents": "tausestack_agents.server",
    "auth": "tausestack_toolservers.auth.server",
    "billing": "tausestack_toolservers.billing.server",
    "colombia": "tausestack_toolservers.colombia.server",
    "registry": "tausestack_registry.server",
    "storage": "tausestack_toolservers.storage.server",
}
"""Our services and where each one's `server` is."""

PLATFORM = "tausestack_runtime.platform.definitions"
"""The gateway's own tools: no process, a function `definitions`."""


def documents() -> dict[str, str]:
    """Return the text of each document by file name."""
    found = {name: _of_server(importlib.import_module(module).server) for name, module in SERVERS.items()}
    found["platform"] = _document(
        "platform",
        "Platform",
        "Usage, audit, approvals, and why a call was allowed or denied.",
        importlib.import_module("tausestack.contract").VERSION,
        importlib.import_module(PLATFORM).definitions(),
    )
    return {f"{name}.json": json.dumps(found[name], indent=2, ensure_ascii=False) + "\n" for name in sorted(found)}


def main() -> int:
    """Write the documents, or with `--check` say whether they are as they should be."""
    changed = [name for name, text in documents().items() if _read(FOLDER / name) != text]
    for name in changed:
        if "--check" in sys.argv[1:]:
            print(f"{name} is not as its service is: run python -m tools.catalogue", file=sys.stderr)
        else:
            (FOLDER / name).write_text(documents()[name], encoding="utf-8")
            print(f"wrote {name}")
    return 1 if changed and "--check" in sys.argv[1:] else 0


def _of_server(server: Any) -> dict[str, Any]:
    return _document(server.name, server.title, server.description, server.version, server.definitions())


def _document(
    name: str, title: str, description: str, version: str, definitions: list[dict[str, Any]]
) -> dict[str, Any]:
    if not 1 <= len(description) <= MAX_DESCRIPTION:
        raise ValueError(f"{name}: a description has 1 to {MAX_DESCRIPTION} characters")
    return {
        "$schema": SCHEMA,
        "name": f"pro.tause/{name}",
        "title": title,
        "description": description,
        "version": version,
        "_meta": {"pro.tause/tools": definitions},
    }


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
