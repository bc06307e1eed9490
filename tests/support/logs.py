"""The logs of processes that tests run: what they said while a test failed is part of how it failed."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import structlog

TAIL_BYTES = 6_000
_KEPT: list[Path] = []


def pytest_configure() -> None:
    """Log in plain lines what is logged in this process: by default a traceback is drawn with all that there is in it.

    To draw one of an agent's graph takes seconds.
    """
    *processors, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, plain])


def keep(log: Path) -> Path:
    """Have a log shown with every test that fails while it is written; return it."""
    _KEPT.append(log)
    return log


def tail(log: Path) -> str:
    """Return the end of a log, nothing where there is none."""
    if not log.exists():
        return ""
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test's report the end of each log that was written to meanwhile."""
    report = yield
    if report.failed:
        for log in _KEPT:
            if log.exists() and log.stat().st_mtime >= call.start:
                report.sections.append((f"the end of {log}", tail(log)))
    return report
