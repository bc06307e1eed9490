"""Bodies that come compressed, though every request asks for them as they are."""

from __future__ import annotations

import zlib

from tausestack.wire.reply import Broken, TooLarge

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_DEFLATED = 8
"""The method in the first byte of zlib's form, which some leave out of what they call deflate."""


class Inflating:
    """A body in gzip or deflate on its way."""

    def __init__(self, encoding: bytes, most: int) -> None:
        """`most` is how many bytes a piece may become."""
        self._gzip = encoding != b"deflate"
        self._most = most
        self._body = zlib.decompressobj(_GZIP) if self._gzip else None

    def inflated(self, piece: bytes) -> bytes:
        """Return what a piece says; raises `TooLarge`, and `Broken` for what is not compressed so."""
        if self._body is None:
            self._body = zlib.decompressobj(_ZLIB if piece[0] & 0x0F == _DEFLATED else _RAW)
        found = bytearray()
        try:
            while piece:
                if self._body.eof:
                    self._body = zlib.decompressobj(_GZIP)  # gzip may go on with another member
                found += self._body.decompress(piece, self._most + 1 - len(found))
                if len(found) > self._most:
                    raise TooLarge(f"a piece of the reply becomes larger than {self._most} bytes")
                piece = self._body.unused_data if self._gzip else b""
        except zlib.error as error:
            raise Broken(f"the reply is not compressed as it says: {error}") from error
        return bytes(found)

    def whole(self) -> bool:
        """Whether what came is all of it."""
        return self._body is None or self._body.eof


def inflating(headers: dict[bytes, bytes], most: int) -> Inflating | None:
    """Return what makes a body readable that its headers say is in gzip or deflate, None for any other."""
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    return Inflating(encoding, most) if encoding in {b"gzip", b"x-gzip", b"deflate"} else None
