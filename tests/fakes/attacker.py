"""An attacker in a process of its own: works until its standard input ends, then says what came of it as JSON.

`half-open URL MANY` holds so many half-open requests and opens another for each that is closed; `bombs URL PATH KEY
FILE` sends a file's content as a request over and over, `pieces URL PATH KEY FILE` as a body that says its end itself,
`requests URL PATH KEY BODY` a body.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import selectors
import socket
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

BEGUN = (
    b"",
    b"\r\n",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    b"POST /tenants/acme/mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 100\r\n\r\n{",
)
"""Requests that go no further."""


def told_to_stop(selector: selectors.BaseSelector, seconds: float) -> bool:
    """Wait so long for something to happen, drop connections that were closed, and return whether to stop."""
    for key, _ in selector.select(seconds):
        if not isinstance(key.fileobj, socket.socket):
            return True
        try:
            gone = not key.fileobj.recv(4096)
        except ConnectionError:
            gone = True
        if gone:
            selector.unregister(key.fileobj)
            key.fileobj.close()
    return False


def half_open(url: str, many: int) -> dict[str, int]:
    place = urlsplit(url)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, many + 64), hard))
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    opened = most = held = 0
    while not told_to_stop(selector, 0.2 if held == many else 0):
        held = len(selector.get_map()) - 1
        most = max(most, held)
        for _ in range(min(many - held, 100)):
            made = socket.create_connection((place.hostname, place.port), timeout=60)
            made.sendall(BEGUN[opened % len(BEGUN)])
            made.setblocking(False)
            opened += 1
            selector.register(made, selectors.EVENT_READ)
    return {"opened": opened, "most": most}


def bombs(url: str, path: str, key: str, body: bytes) -> dict[str, int]:
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    statuses: Counter[str] = Counter()
    while not told_to_stop(selector, 0.05):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        connection.request("POST", path, body, headers)
        statuses[str(connection.getresponse().status)] += 1
        connection.close()
    return dict(statuses)


def pieces(url: str, path: str, key: str, body: bytes) -> dict[str, int]:
    """Send a body that comes in chunks, and is cut off where it was refused."""
    place = urlsplit(url)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    head = f"POST {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {key}\r\n"
    statuses: Counter[str] = Counter()
    while not told_to_stop(selector, 0.05):
        with socket.create_connection((place.hostname, place.port), timeout=120) as made:
            with contextlib.suppress(ConnectionError):
                made.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")
            statuses[made.recv(12)[9:].decode()] += 1
    return dict(statuses)


def main(kind: str, url: str, *rest: str) -> None:
    if kind == "half-open":
        found = half_open(url, int(rest[0]))
    else:
        body = Path(rest[2]).read_bytes() if kind != "requests" else rest[2].encode()
        found = (pieces if kind == "pieces" else bombs)(url, rest[0], rest[1], body)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
