"""What `tausestack new` writes runs as it is, and passes the test that it comes with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from stack import TAUSESTACK, running


def new(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    known = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [str(TAUSESTACK), "new", *arguments]
    return subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.covers("new:agent")
@pytest.mark.timeout(200)
def test_a_new_agent_as_data_and_one_in_code_pass_their_own_cases(tmp_path: Path) -> None:
    told = json.loads(new(tmp_path, "agent", "note-keeper", "--json").stdout)
    assert told["files"] == [f"note-keeper/{name}" for name in ("README.md", "agent.yaml", "cases.yaml")]
    assert new(tmp_path, "agent", "note-counter", "--code").returncode == 0
    modules = {"PYTHONPATH": str(tmp_path / "note-counter"), "TAUSESTACK_AGENT_MODULES": "note_counter"}
    with running(tmp_path / "data", **modules) as stack:
        tenant = stack.tenant("sandbox")
        saved = stack.cli_json("agent", "save", str(tmp_path / "note-keeper" / "agent.yaml"), "--tenant", "sandbox")
        assert (saved["version"], saved["unknown_handoffs"]) == (1, [])
        for name in ("note-keeper", "note-counter"):
            cases = str(tmp_path / name / "cases.yaml")
            judged = stack.cli("agent", "eval", cases, "--agent", name, "--tenant", "sandbox", "--json", check=False)
            assert judged.returncode == 0, judged.stdout + judged.stderr
            assert json.loads(judged.stdout)["total"]["accuracy"] == 1.0
        assert tenant.must("storage/get_json", {"key": "resumen/notas"})["value"] == 1


@pytest.mark.covers("new:agent")
def test_nothing_is_written_over_and_what_can_be_no_name_is_refused_in_one_line(tmp_path: Path) -> None:
    assert new(tmp_path, "agent", "mine").returncode == 0
    (tmp_path / "mine" / "agent.yaml").write_text("name: mine\n")
    for arguments, says in ((("mine",), "is there already"), (("../mine",), "can't be"), (("Mine",), "can't be")):
        refused = new(tmp_path, "agent", *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        (line,) = refused.stderr.splitlines()
        assert says in line
    assert (tmp_path / "mine" / "agent.yaml").read_text() == "name: mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
