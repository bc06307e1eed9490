"""How long to wait before starting again what crashed."""

from __future__ import annotations

from collections.abc import Sequence

DELAYS = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before the first, second… start after a crash; the last one stays."""

STEADY_SECONDS = 60.0
"""A life this long makes earlier crashes count no more."""


class Backoff:
    """Counts crashes in a row."""

    def __init__(self, delays: Sequence[float] = DELAYS) -> None:
        self._delays = delays
        self.crashes = 0

    def crashed(self, lived: float, *, killed: bool = False) -> float:
        """Note a crash after some seconds of life, and return how many seconds to wait.

        One that was killed from outside has no defect of its own: that counts for nothing, and hardly waits.
        """
        if killed:
            return self._delays[min(1, len(self._delays) - 1)] / 2
        if lived >= STEADY_SECONDS:
            self.crashes = 0
        self.crashes += 1
        return self._delays[min(self.crashes, len(self._delays)) - 1]

    def reset(self) -> None:
        """Forget the crashes: the process ended as it was meant to."""
        self.crashes = 0
