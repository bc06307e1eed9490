"""What `tausestack new` writes runs as it is, and passes the test that it comes with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack import TAUSESTACK, running
from tausestack_agents.specs.builtin import released
from tausestack_runtime.cli.new import BUILT_IN

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


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
    refused = new(tmp_path, "agent", "concierge")
    assert "is built in" in refused.stderr
    assert released().keys() == BUILT_IN


@pytest.mark.covers("new:server")
@pytest.mark.parametrize("name", ["class", "json", "mcp"])
def test_a_servers_module_is_no_keyword_and_stands_in_no_others_place(tmp_path: Path, name: str) -> None:
    told = json.loads(new(tmp_path, "server", name, "--json").stdout)
    assert f"{name}/server_{name}/server.py" in told["files"]


@pytest.mark.covers("new:server", "new:plugin")
@pytest.mark.parametrize(
    ("kind", "name", "module", "tools"),
    [
        ("server", "2-shelves", "server_2_shelves", ["add_items", "list_items"]),
        ("plugin", "tax-adder", "tax_adder", ["add_tax"]),
    ],
)
def test_a_new_server_or_plugin_passes_its_own_test_and_lists_its_tools(
    tmp_path: Path, kind: str, name: str, module: str, tools: list[str]
) -> None:
    told = json.loads(new(tmp_path, kind, name, "--json").stdout)
    assert {f"{name}/{file}" for file in ("README.md", "pyproject.toml", "server.json", f"{module}/server.py")} <= {
        *told["files"]
    }
    folder = tmp_path / name
    known = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder, env=known, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    served = subprocess.run(
        [sys.executable, "-m", module],
        cwd=folder, env=known, input=json.dumps(asked) + "\n", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    answer = json.loads(served.stdout.splitlines()[0])
    assert [tool["name"] for tool in answer["result"]["tools"]] == tools, served
    described = json.loads((folder / "server.json").read_text())
    assert described["packages"][0]["identifier"] == name
