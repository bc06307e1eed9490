"""Places at which a test may have this process die or freeze: those where a crash would do the most harm.

Nothing is ever set here but by a file that the variable `TAUSESTACK_FAILPOINT` of the process's own environment names:
`{"place": …, "of": null, "signal": 9, "skip": 0}`, where `of` may name the one server at whose calls the place counts.
Whoever reaches the place takes the file away and gets the signal, so that each file counts once, however many processes
there are.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

VARIABLE = "TAUSESTACK_FAILPOINT"
PLACES = (
    "accept.before", "accept.between", "accept.after",
    "claim.before", "claim.between", "claim.after",
    "plan.before", "plan.after",
    "model.before", "model.after",
    "intent.before", "intent.after",
    "call.before", "call.after",
    "result.before", "result.after",
    "event.before", "event.after",
    "checkpoint.before", "checkpoint.within", "checkpoint.after",
    "writes.before", "writes.within", "writes.after",
    "decide.before", "decide.between", "decide.after",
    "end.before", "end.within", "end.after",
    "strike.before", "strike.after",
)  # fmt: skip
"""`within` a transaction: nothing of it is kept. `between` two of them: the one is kept, the other never begun."""

_reached: dict[str, int] = {}


def passing(place: str, of: str | None = None) -> None:
    """Be killed or stopped here, where the test that started this process says so; `of` names the server called."""
    told = os.environ.get(VARIABLE)
    if told is not None:
        _look(Path(told), place, of)


def _look(file: Path, place: str, of: str | None) -> None:
    try:
        order = json.loads(file.read_text())
    except FileNotFoundError:
        _reached.clear()
        return
    if order["place"] != place or order["of"] not in {None, of}:
        return
    _reached[place] = _reached.get(place, 0) + 1
    if _reached[place] <= order["skip"]:
        return
    try:
        file.unlink()
    except FileNotFoundError:
        return  # another process was first
    signal.pthread_kill(threading.get_ident(), order["signal"])  # to this thread: it goes no further than here
