"""`python -m tausestack_agents.loopback FILE [--record URL]`: play recorded answers, or record a vendor's."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from tausestack.errors import TauseError
from tausestack_agents.loopback.answers import Answer, Asked
from tausestack_agents.loopback.recording import Recorder
from tausestack_agents.loopback.server import Respond, serving
from tausestack_agents.loopback.traffic import Recorded, read


def main() -> None:
    """Serve until interrupted; the first line printed is the address, for OPENAI_BASE_URL (with `/v1`) and the like."""
    parser = argparse.ArgumentParser(prog="python -m tausestack_agents.loopback")
    parser.add_argument("file", type=Path, help="recorded answers, a JSON object a line")
    parser.add_argument("--record", metavar="URL", help="pass requests on to this address and add its replies to FILE")
    given = parser.parse_args()
    try:
        respond = Recorder(given.record, given.file).respond if given.record else _played(given.file)
    except (TauseError, OSError) as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the server's thread, so that none of them is taken by it
    with serving(respond) as url:
        print(url, flush=True)
        signal.sigwait(ends)


def _played(file: Path) -> Respond:
    recorded = read(file)

    async def respond(asked: Asked) -> Answer | Recorded:
        return recorded.answer(asked)

    return respond


if __name__ == "__main__":
    main()
