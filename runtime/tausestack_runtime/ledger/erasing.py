"""Deleting a tenant's chain: nothing of it stays but a word in the register, which does not name the tenant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tausestack_runtime.ledger.head import HEAD_BYTES, BrokenHead, unpack
from tausestack_runtime.ledger.register import Register
from tausestack_runtime.ledger.scan import forwards
from tausestack_runtime.ledger.writing import Turn, file_of


def count(data: Path, keys: Sequence[bytes], tenant: str) -> int:
    """Return how many lines a tenant has: as its head tells, else as there are; a file without any counts as one."""
    path = file_of(data, tenant)
    if not path.exists():
        return 0
    with path.open("rb") as file:
        try:
            return unpack(file.read(HEAD_BYTES), tenant, keys).lines or 1
        except BrokenHead:
            return sum(1 for _ in forwards(file.fileno(), HEAD_BYTES, path.stat().st_size)) or 1


def erase(data: Path, keys: Sequence[bytes], tenant: str, gateway: int) -> int:
    """Delete a tenant's chain, in the writers' turn, and return how many lines it had.

    A writer that has the file open sees at its next turn that it is gone.
    """
    path = file_of(data, tenant)
    with closing(Turn(data)) as turn, turn:
        lines = count(data, keys, tenant)
        path.unlink(missing_ok=True)
        with closing(Register(data, keys, gateway)) as register:
            if register.holds(tenant):
                register.note(tenant, begun=False)
    return lines
