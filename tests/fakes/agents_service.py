"""A fork server of the agents service: imported once, forked for each line on stdin, which holds path and surroundings.

A line `{"import": module}` has a module imported for all children to come. Answers with the child's pid, and with `-`
and the exit code once a child that a line `{"wait": pid}` names has ended; `"after"` so many seconds it is killed.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from tausestack.mcp import ServiceEnv, serve_socket
from tausestack_agents.server import server


def main() -> None:
    """Take orders until stdin ends."""
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "wait" in order:
            print(f"- {ended(order['wait'], order.get('after'))}", flush=True)
            continue
        if "import" in order:
            importlib.import_module(order["import"])
            print("imported", flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.close(0)
            serve(order)
            os._exit(0)
        print(pid, flush=True)


def ended(pid: int, after: float | None) -> int:
    """Wait for a child's end, or for so many seconds before killing it, and return its exit code."""
    if after is not None:
        watched = os.pidfd_open(pid)
        if not select.select([watched], [], [], after)[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(watched)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve(order: dict[str, Any]) -> None:
    """Bind, listen, serve."""
    os.environ.update(order["environ"])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(order["path"])
    listener.listen(128)
    env = ServiceEnv(
        data=Path(order["data"]),
        database_url=order.get("database_url"),
        jwks=order["jwks"],
        gateway=order["gateway"],
        process_credential=order["process"],
    )
    serve_socket(server, listener, env)


main()
