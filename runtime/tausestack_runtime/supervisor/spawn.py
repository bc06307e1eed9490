"""Starting a fresh process in a session of its own, which dies with the supervisor."""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping, Sequence

from tausestack_runtime.supervisor.linux import die_with_parent

CANNOT_RUN = 127


def spawn(command: Sequence[str], environment: Mapping[str, str], passed: Sequence[int]) -> int:
    """Return the process id of a command that inherits the descriptors passed and no others but the standard ones."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        die_with_parent(parent)
        for descriptor in passed:
            os.set_inheritable(descriptor, True)
        os.execve(command[0], list(command), dict(environment))  # noqa: S606 our own interpreter, no shell wanted
    except BaseException:  # noqa: BLE001 the fork must end here, never go on as a second supervisor
        traceback.print_exc()
    finally:
        os._exit(CANNOT_RUN)
