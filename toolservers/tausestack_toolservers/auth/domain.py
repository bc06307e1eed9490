"""What an API key is, and what it may do."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tausestack.raw import as_object
from tausestack.scopes import ROLES, missing, within
from tausestack.tenancy import credential_hash

ACTIVE, SUSPENDED, DELETING, IMPORTING = "active", "suspended", "deleting", "importing"
"""What a tenant's status may be. One that is being deleted or imported is there for nobody but whoever does that."""
LEGACY_ANONYMOUS = "legacy_anonymous"
"""The setting by which a tenant lets earlier clients in without a credential."""
THERE = frozenset({ACTIVE, SUSPENDED})

KEY_ID_LENGTH = 12
SECRET_BYTES = 32

_ALPHABET = string.ascii_lowercase + string.digits


def why_not_free(tenant: str, status: str) -> str:
    """Return why nothing is done with a tenant's id as it stands, and what to do about it."""
    if status == IMPORTING:
        return (
            f"An import of '{tenant}' is under way, or was cut off: run 'tausestack tenant import' again, which begins "
            f"anew, or erase what there is with 'tausestack tenant delete {tenant} --yes'"
        )
    if status == DELETING:
        return (
            f"The tenant '{tenant}' is being deleted: run 'tausestack tenant delete {tenant} --yes' again to finish "
            "it; then its id is free"
        )
    return f"The tenant '{tenant}' is there already"


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: the only moment at which its text exists here."""

    id: str
    text: str

    @property
    def hash(self) -> str:
        """The form in which it is kept."""
        return credential_hash(self.text)


def new_key() -> NewKey:
    """Return a key `tsk_<id>_<secret>` with a secret of 256 random bits."""
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_ID_LENGTH))
    return NewKey(key_id, f"tsk_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}")


def scopes_of(roles: Sequence[str], narrowed: Sequence[str] | None = None) -> list[str]:
    """Return what roles may do together, narrowed to some scopes; nothing, for a role that is not known."""
    held = frozenset[str]().union(*(ROLES.get(role, frozenset()) for role in roles))
    return sorted(held if narrowed is None else within([held, narrowed]))


def beyond(limits: Sequence[frozenset[str]], scopes: Sequence[str]) -> str | None:
    """Return the first of some scopes that somebody lacks, and so can't give to another."""
    return missing(limits, sorted(scopes))


def expiry(now: datetime, days: int | None) -> str | None:
    """Return when a key made now expires (UTC, ISO 8601), or None for never."""
    return None if days is None else (now + timedelta(days=days)).isoformat()


def merged(settings: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with a change, as a JSON merge patch (RFC 7396) has it: null takes a setting away."""
    found = dict(settings)
    for name, value in change.items():
        if value is None:
            found.pop(name, None)
        else:
            inner = as_object(value)
            found[name] = value if inner is None else merged(as_object(found.get(name)) or {}, inner)
    return found


def is_alive(now: datetime, revoked_at: str | None, expires_at: str | None) -> bool:
    """Return whether a key is good now."""
    return revoked_at is None and (expires_at is None or datetime.fromisoformat(expires_at) > now)
