"""`python -m conformance_server --port N`: serve, and print the address once it listens."""

from __future__ import annotations

import argparse
import socket

import uvicorn

from conformance_server.server import build

BACKLOG = 1024
STOP_SECONDS = 2


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="conformance_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1; 0: a free one")
    asked = parser.parse_args()
    with socket.create_server(("127.0.0.1", asked.port), backlog=BACKLOG) as sock:
        print(f"http://127.0.0.1:{sock.getsockname()[1]}/mcp", flush=True)
        # h11: httptools leaves the white space at a header value's end, which RFC 9110 keeps out of the value.
        config = uvicorn.Config(
            build(), http="h11", log_level="warning", backlog=BACKLOG, timeout_graceful_shutdown=STOP_SECONDS
        )
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main()
