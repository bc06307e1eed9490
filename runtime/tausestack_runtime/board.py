"""The board: a few numbers that the gateways of a stack and their supervisor share in memory."""

from __future__ import annotations

import mmap
import os

from tausestack_runtime import tally

_ABSENT = 2**64 - 1
_CONNECTIONS, _WRITES, _COLUMNS = 0, 1, 2
_WORKING = 0
_BYTES = 8


class Board:
    """A row for each gateway, numbered from 1: its connections, or that it is not there, and its writes.

    A row is written by its own gateway, and by the supervisor while that one is dead. A number is read and written
    whole; it may be a moment old. The supervisor's own row, below the gateways', says how many processes work on runs.
    Below the rows is the tally of what tenants use.
    """

    def __init__(self, count: int, descriptor: int = -1) -> None:
        """Share the board behind a descriptor; without one, have a board that nobody shares."""
        self.count = count
        self._map = mmap.mmap(descriptor, _size(count))
        rows, rest = memoryview(self._map)[: _rows(count)], memoryview(self._map)[_rows(count) :]
        self._cells = rows.cast("Q")
        self._writes = self._cells[_WRITES : count * _COLUMNS : _COLUMNS]
        self.tally = tally.tally(rest, count, descriptor)

    @staticmethod
    def make(count: int) -> int:
        """Return the descriptor of a new board on which no gateway is there."""
        descriptor = os.memfd_create("tausestack-gateways", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _size(count))
        board = Board(count, descriptor)
        for number in board.numbers:
            board.leave(number)
        return descriptor

    @property
    def numbers(self) -> range:
        """The numbers of all gateways, there or not."""
        return range(1, self.count + 1)

    def leave(self, number: int) -> None:
        """Note that a gateway takes no connections."""
        self._cells[_at(number, _CONNECTIONS)] = _ABSENT

    def bury(self, number: int) -> None:
        """Note that a gateway is dead, and has nothing open."""
        self.leave(number)
        self.tally.forget(number)

    def connected(self, number: int, connections: int) -> None:
        """Note how many connections a gateway has, and that it takes more."""
        self._cells[_at(number, _CONNECTIONS)] = connections

    def connections(self, number: int) -> int | None:
        """Return how many connections a gateway has, or None where it takes none."""
        found = self._cells[_at(number, _CONNECTIONS)]
        return None if found == _ABSENT else found

    @property
    def workers(self) -> tuple[int, int]:
        """How many processes work on runs, and how many are to."""
        at = _at(self.count + 1, _WORKING)
        return self._cells[at], self._cells[at + 1]

    def work(self, working: int, wanted: int) -> None:
        """Note how many processes work on runs, and how many are to."""
        at = _at(self.count + 1, _WORKING)
        self._cells[at], self._cells[at + 1] = working, wanted

    def wrote(self, number: int) -> None:
        """Note that something was written through a gateway that the others may have read before."""
        self._cells[_at(number, _WRITES)] += 1

    def writes(self) -> int:
        """Return how many writes all gateways noted; whoever saw the answer to one sees its number too."""
        return sum(self._writes)


class Writes:
    """What one gateway notes of its writes, and hears of all."""

    def __init__(self, board: Board | None = None, number: int = 1) -> None:
        """Take the board and the gateway's number; without a board there are no other gateways."""
        self._board, self._number = board or Board(1), number
        self.count = self._board.writes
        """Tells how many writes were noted, by any gateway."""

    def note(self) -> None:
        """Note that something was written, before its answer is given."""
        self._board.wrote(self._number)


def _rows(count: int) -> int:
    return (count + 1) * _COLUMNS * _BYTES


def _size(count: int) -> int:
    return _rows(count) + tally.size(count)


def _at(number: int, column: int) -> int:
    return (number - 1) * _COLUMNS + column
