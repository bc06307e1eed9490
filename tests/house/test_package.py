"""What people install: the wheel has everything, and the README's example runs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import tausestack as ts

ROOT = Path(__file__).parents[2]
DATA_FILES = {
    "tausestack/py.typed",
    "tausestack/colombia/divipola.csv",
    "tausestack_runtime/gateway/rest/page.html",
    "tausestack_runtime/gateway/migrations/versions/0001_approvals.py",
    "tausestack_registry/catalogue/billing.json",
}


@pytest.mark.covers("house:wheel")
def test_the_wheel_holds_the_five_packages_and_their_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert names >= DATA_FILES
    packages = {name.partition("/")[0] for name in names if name.endswith("__init__.py")}
    rooms = {"tausestack", "tausestack_runtime", "tausestack_registry", "tausestack_agents", "tausestack_toolservers"}
    assert packages == rooms
    assert not [name for name in names if name.endswith(".pth") or name.startswith("tests/")]


@pytest.mark.anyio
@pytest.mark.covers("house:readme-example")
async def test_the_readmes_example_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec", dont_inherit=True), names)
    async with ts.testing.stack(names["server"]) as stack:
        found = await stack.acme.call("reserve", {"sku": "shoe", "quantity": 2})
        assert found == {"tenant": "acme", "reserved": "2 x shoe"}
        theirs = await stack.globex.call("reserve", {"sku": "shoe", "quantity": 2})
        assert theirs["tenant"] == "globex"
