"""The agents service as a process of its own: `python agents.py SOCKET`, the rest of what it needs as JSON on stdin."""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from pathlib import Path

from tausestack.mcp import ServiceEnv, serve_socket
from tausestack_agents.server import server


def main(path: str) -> None:
    """Bind, listen, serve."""
    gc.collect()
    gc.freeze()  # as in the fork server: what was imported is looked through no more
    told = json.loads(sys.stdin.read())
    os.environ.update(told["environ"])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(256)
    env = ServiceEnv(
        data=Path(told["data"]),
        database_url=told["database_url"],
        jwks=told["jwks"],
        gateway=told["gateway"],
        process_credential="process-credential",
        log_level="warning",
    )
    serve_socket(server, listener, env)


if __name__ == "__main__":
    main(sys.argv[1])
