"""A raw pooled client of HTTP/1.1 for the hops between our own processes: it says whether a request was read."""

from tausestack.wire.place import Place, UnixPlace
from tausestack.wire.pool import MAX_BODY_BYTES, Pool
from tausestack.wire.reply import Broken, NotSent, Reply, TimedOut, TooLarge, WireError

__all__ = [
    "MAX_BODY_BYTES", "Broken", "NotSent", "Place", "Pool", "Reply", "TimedOut", "TooLarge", "UnixPlace", "WireError",
]  # fmt: skip
