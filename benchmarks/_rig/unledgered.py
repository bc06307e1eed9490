"""A stack whose gateway keeps no ledger, to see what the ledger costs: nothing that ships has such a switch.

Run as `python -m benchmarks._rig.unledgered`, it is the stack (`TAUSESTACK_*` as always); as the stack's gateway it is
started with the argument `gateway`.
"""

from __future__ import annotations

import asyncio
import sys

from tausestack_runtime.gateway.__main__ import main as serve
from tausestack_runtime.ledger import Ledger, Line
from tausestack_runtime.settings import read_settings
from tausestack_runtime.supervisor.stack import Supervisor


def _forgotten(self: Ledger, *lines: Line) -> asyncio.Future[None]:
    """Take lines as a ledger does, and keep none."""
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


def main() -> int:
    """Be the stack, or its gateway."""
    if sys.argv[1:] == ["gateway"]:
        Ledger.append = _forgotten
        return serve()
    return Supervisor(read_settings(), gateway=(sys.executable, "-m", "benchmarks._rig.unledgered", "gateway")).run()


if __name__ == "__main__":
    sys.exit(main())
