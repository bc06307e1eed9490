"""`python -m tausestack_runtime.cli`: the command `tausestack`."""

from __future__ import annotations

import sys

from tausestack_runtime.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
