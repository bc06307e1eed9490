"""The command `tausestack`, also as `python -m tausestack_runtime.cli`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line, or say what has to be installed for it: the small SDK comes without."""
    try:
        from tausestack_runtime.cli.app import main as run
    except ModuleNotFoundError as error:
        print(f"tausestack: {error.name} is missing: pip install 'tausestack[server]'", file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
