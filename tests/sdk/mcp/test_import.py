"""Importing the package costs nothing until something of it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tausestack as ts

HEAVY = ("mcp", "sqlalchemy", "fastapi", "langgraph", "litellm", "pydantic", "httpx2")


@pytest.mark.covers("sdk:light-import")
def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, tausestack; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.covers("sdk:light-import")
def test_the_kit_needs_no_database() -> None:
    code = "import sys, tausestack as ts; ts.mcp.Server('x', version='1'); print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_name_is_there() -> None:
    for name in ts.__all__:
        assert getattr(ts, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ts.nonsense
    assert set(ts.__all__) <= set(dir(ts))
