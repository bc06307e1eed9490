"""A gateway of a test's supervisor: answers one request at a time on the port that it inherits."""

import json
import os
import signal
import socket
import time
from urllib.parse import parse_qs, urlsplit

listener = socket.socket(fileno=int(os.environ["TAUSESTACK_LISTEN_FD"]))
internal = socket.socket(fileno=int(os.environ["TAUSESTACK_INTERNAL_FD"]))
stopping = False


def stop(_number: int, _frame: object) -> None:
    global stopping
    stopping = True


signal.signal(signal.SIGTERM, stop)
listener.settimeout(0.05)
while not stopping:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        continue
    with connection:
        connection.settimeout(5)
        target = urlsplit(connection.recv(65536).decode().split(" ")[1])
        time.sleep(float(parse_qs(target.query).get("seconds", ["0"])[0]))
        told = {name: value for name, value in os.environ.items() if name.startswith("TAUSESTACK_")}
        body = json.dumps({"pid": os.getpid(), "told": told, "internal": internal.getsockname()}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
