"""Serves the agents service on a Unix socket, given as arguments: its path, and its surroundings as JSON."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from tausestack.mcp import ServiceEnv, serve_socket
from tausestack_agents.server import server


def main() -> None:
    """Bind, listen, serve."""
    path, given = sys.argv[1], json.loads(sys.argv[2])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    env = ServiceEnv(
        data=Path(given["data"]),
        jwks=given["jwks"],
        gateway=given["gateway"],
        process_credential=given["process"],
    )
    serve_socket(server, listener, env)


main()
