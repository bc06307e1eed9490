"""What long tests measured: said at the end of a run, whether they pass or not."""

from __future__ import annotations

import pytest

_TOLD: list[str] = []


def tell(figure: str) -> None:
    """Have a line said at the end of the run."""
    _TOLD.append(figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say all of it."""
    for figure in _TOLD:
        terminalreporter.write_line(figure)
