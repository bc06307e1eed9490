"""Runs a program many times for the price of one import: a process that has it loaded forks for each run.

`python -I -S forked.py SOCKET ARGUMENT` is the cheap end: it hands its argument, its environment and its output to the
process that serves SOCKET, and ends as the fork of that does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable

MOST_AT_ONCE = 4
"""The rest waits its turn: deadlines of its own that a run has are not spent on waiting for a core."""


def serve(path: str, program: Callable[[str], None]) -> None:
    """Fork for each connection, and run the program there with the argument that came; until SIGTERM."""
    running: set[int] = set()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(256)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            while len(running) >= MOST_AT_ONCE:
                running.discard(os.wait()[0])
            child = os.fork()
            if child == 0:
                listener.close()
                os._exit(_answer(connection, program))
            running.add(child)
            connection.close()


def _answer(connection: socket.socket, program: Callable[[str], None]) -> int:
    asked, outputs, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
    told = json.loads(asked)
    os.environ.clear()
    os.environ.update(told["environment"])
    status = 1
    try:
        program(told["argument"])
        status = 0
    except BaseException:  # noqa: BLE001 the end of a process: there is nobody to raise to
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([status]))
    return status


def hand_over(path: str, argument: str) -> int:
    """Have the serving process run its program, and return how that ended."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        told = json.dumps({"argument": argument, "environment": dict(os.environ)})
        socket.send_fds(connection, [told.encode()], [1, 2])
        status = connection.recv(1)
    return status[0] if status else 1


if __name__ == "__main__":
    sys.exit(hand_over(*sys.argv[1:]))
