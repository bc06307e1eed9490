"""Every promise is shown by a test, and no test shows a promise that is not made."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def promised() -> dict[str, str]:
    """Return the promises by id, `area:promise`."""
    areas = tomllib.loads((TESTS / "requirements.toml").read_text())
    return {f"{area}:{name}": text for area, promises in areas.items() for name, text in promises.items()}


def covered() -> dict[str, list[str]]:
    """Return which tests say that they show which promise, read from their source."""
    found: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.covers"):
                for argument in node.args:
                    assert isinstance(argument, ast.Constant), f"{path.name}: a promise is named by a literal"
                    found.setdefault(str(argument.value), []).append(path.name)
    return found


@pytest.mark.covers("house:promises-shown")
def test_every_promise_is_shown_by_a_test() -> None:
    assert sorted(promised().keys() - covered().keys()) == []


@pytest.mark.covers("house:promises-made")
def test_no_test_shows_a_promise_that_is_not_made() -> None:
    assert sorted(covered().keys() - promised().keys()) == []


@pytest.mark.covers("house:promises-said")
def test_each_promise_is_a_sentence() -> None:
    assert [name for name, text in promised().items() if len(text.split()) < 3] == []
