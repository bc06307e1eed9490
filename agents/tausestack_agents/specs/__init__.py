"""What agents there are: those that every tenant has, and a tenant's own, each version of which is kept."""

from __future__ import annotations

from tausestack_agents.specs.builtin import builtin
from tausestack_agents.specs.saved import (
    Pinned,
    allow,
    allowed,
    delete,
    find,
    head,
    listed,
    load,
    names,
    pin,
    pinned,
    save,
    save_under,
    versions,
)

__all__ = [
    "Pinned",
    "allow",
    "allowed",
    "builtin",
    "delete",
    "find",
    "head",
    "listed",
    "load",
    "names",
    "pin",
    "pinned",
    "save",
    "save_under",
    "versions",
]
