"""`tausestack token`, and how lightly the command starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tausestack.tokens import Verifier, server_audience
from tausestack_runtime.keys import Masters
from tausestack_runtime.signing import SigningKeys

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.covers("cli:token")
def test_a_minted_token_is_good_for_one_server_and_one_tenant(tausestack: Cli, tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path, Masters(tmp_path))
    keys.ensure()
    jwks = keys.jwks()
    done = tausestack("token", "billing", "--tenant", "acme", "--data", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["token"]
    principal, _ = Verifier(jwks, server_audience("billing")).verify(token)
    assert principal.tenant == "acme"


@pytest.mark.covers("cli:token-alone")
def test_in_an_empty_folder_the_keys_are_made_with_the_token(tausestack: Cli, tmp_path: Path) -> None:
    data = tmp_path / "new"
    token = tausestack("token", "billing", "--tenant", "acme", "--data", str(data)).stdout.strip()
    jwks = json.loads((data / "jwks.json").read_text())
    assert Verifier(jwks, server_audience("billing")).verify(token)[0].tenant == "acme"
    assert (data / "secret.key").stat().st_mode & 0o077 == 0


@pytest.mark.covers("cli:light")
def test_help_needs_no_client_no_server_and_no_database() -> None:
    code = (
        "import sys; from tausestack_runtime.cli.app import main; main(['--help']);"
        "heavy = {'httpx2', 'mcp', 'sqlalchemy', 'langgraph', 'litellm', 'uvicorn', 'cryptography', 'rich'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "[]"
    assert "Commands:" in done.stdout
