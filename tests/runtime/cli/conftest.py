"""The command line in processes of its own, against a loopback gateway."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tausestack(gateway_url: str, tmp_path: Path) -> Cli:
    """Return what runs a command as acme's admin; other credentials are given as variables."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "TAUSESTACK_URL": gateway_url,
            "TAUSESTACK_API_KEY": "tsk_acme",
            "TAUSESTACK_DATA": str(tmp_path / "data"),
            **environment,
        }
        command = [sys.executable, "-m", "tausestack_runtime.cli", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    return run


@pytest.fixture
def operator_data(tmp_path: Path) -> dict[str, str]:
    """Return the environment of whoever holds the operator's key, and nothing else."""
    data = tmp_path / "operator"
    data.mkdir()
    (data / "operator.key").write_text("tsk_operator_" + "0" * 64 + "\n")
    (data / "operator.key").chmod(0o600)
    return {"TAUSESTACK_DATA": str(data), "TAUSESTACK_API_KEY": ""}
