"""The supervisor: holds every socket, starts processes on first use, keeps them, and takes them down."""

from __future__ import annotations

import sys

from tausestack_runtime.settings import Settings, StartError

__all__ = ["up"]


def up(settings: Settings) -> int:
    """Run a stack until SIGTERM or SIGINT, on the main thread, and return the exit code.

    What keeps it from starting is said in one line on standard error, and the code is 1.
    """
    from tausestack_runtime.supervisor.stack import Supervisor  # the gateway imports this package for its client alone

    try:
        supervisor = Supervisor(settings)
    except StartError as refusal:
        print(f"tausestack: {refusal}", file=sys.stderr)
        return 1
    return supervisor.run()
