"""Playing a file of recorded answers to this process: one server a file, for as long as the process lives."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tausestack_agents.loopback.answers import Answer, Asked
from tausestack_agents.loopback.server import serving
from tausestack_agents.loopback.traffic import Recorded, read


@cache
def address(file: str) -> str:
    """Return the URL (without the `/v1`) at which a file is played; raises `InvalidArguments` where it can't be."""
    recorded = read(Path(file))

    async def respond(asked: Asked) -> Answer | Recorded:
        return recorded.answer(asked)

    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(serving(respond))
