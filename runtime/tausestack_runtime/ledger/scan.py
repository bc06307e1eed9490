"""Going over a chain's lines: forwards from a byte, backwards from the end, and to where something begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

PIECE, SMALL_PIECE = 256 * 1024, 4096


def forwards(file: int, start: int, end: int, piece: int = PIECE) -> Generator[tuple[int, bytes]]:
    """Yield each line from one byte to another, with where it begins; a last one without an end comes as it is."""
    rest, at = b"", start
    while at + len(rest) < end:
        read = os.pread(file, min(piece, end - at - len(rest)), at + len(rest))
        if not read:
            break
        *whole, rest = (rest + read).split(b"\n")
        for one in whole:
            yield at, one + b"\n"
            at += len(one) + 1
    if rest:
        yield at, rest


def backwards(file: int, start: int, end: int) -> Generator[bytes]:
    """Yield each line between two bytes, the last one first."""
    left, rest = end, b""
    while left > start:
        size = min(PIECE, left - start)
        left -= size
        *whole, last = (os.pread(file, size, left) + rest).split(b"\n")
        lines = [one + b"\n" for one in whole]
        if last:
            lines.append(last)
        yield from reversed(lines[1:])
        rest = lines[0] if lines else b""
    if rest:
        yield rest


def beginning(file: int, start: int, end: int, reached: Callable[[bytes], bool]) -> int:
    """Return where the first line begins that has reached something; all after it have too, and none before it."""
    low, high = start, end
    while low < high:
        middle = (low + high) // 2
        at, line = _line_from(file, low, middle, end)
        if at >= high or reached(line):
            high = middle
        else:
            low = at + len(line)
    return low


def _line_from(file: int, start: int, byte: int, end: int) -> tuple[int, bytes]:
    """Return the first line that begins at a byte or after it, and where it begins; `start` is where one does."""
    if byte > start:
        _, before = next(forwards(file, byte - 1, end, SMALL_PIECE))
        byte += len(before) - 1
    return next(forwards(file, byte, end, SMALL_PIECE), (end, b""))
