"""The demo is the main job on real input: three servers, one not ours, one approval, a tenant that sees nothing."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from stack import TAUSESTACK, ways_to_indexes


@pytest.mark.timeout(180)
@pytest.mark.covers("demo:main-job")
def test_the_demo_does_the_main_job_and_ends_with_0(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **ways_to_indexes()}
    done = subprocess.run([TAUSESTACK, "demo"], env=env, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = done.stdout
    assert "offline" in said
    for address in ("colombia/validate_nit", "mcp-server-time/get_current_time", "billing/create_invoice"):
        assert address in said, said
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-05:00", said), said
    assert "approv" in said.lower()
    assert "COP" in said
