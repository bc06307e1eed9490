"""The heads of messages that came by a connection, by all of their bytes: most differ in their bodies alone."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

END = b"\r\n\r\n"
MOST = 4
MOST_BYTES = 2048


class Heads(Generic[T]):
    """What the last few heads of one connection were read as.

    A head may hold a credential. It stays no longer than the connection that it came by, and serves no other.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[bytes, T] = {}

    def known(self, written: bytes) -> T | None:
        """Return what was read of these bytes before."""
        return self._kept.get(written)

    def keep(self, written: bytes, headers: int, read: T) -> None:
        """Keep what was read of a head of so many headers, where all of it stands in these bytes and nothing else does.

        Each of its lines has to be a header or the first, and to end as all readers know lines to end.
        """
        if (
            len(written) <= MOST_BYTES
            and written[:1].isalpha()
            and written.endswith(END)
            and written.count(b"\r\n") == written.count(b"\n") == headers + 2
        ):
            if len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[written] = read
