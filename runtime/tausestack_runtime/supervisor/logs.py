"""The supervisor's own log: structlog on standard error, JSON unless that is a terminal."""

from __future__ import annotations

import logging
import sys

import structlog


def open_log(level: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger that writes what is at least of a level."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        process="supervisor",
    )
