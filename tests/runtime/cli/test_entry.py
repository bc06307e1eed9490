"""The command's entry, where only the small SDK is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.covers("cli:small-install")
def test_a_small_installation_says_what_the_command_line_needs() -> None:
    hidden = "import sys; sys.modules['typer'] = None"
    program = f"{hidden}; from tausestack_runtime.cli.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "tausestack: typer is missing: pip install 'tausestack[server]'\n"
