"""The key of every cache that a tenant can influence comes from here, so that none can forget the tenant."""

from __future__ import annotations

import hashlib


def cache_key(tenant: str, principal: str, epoch: str, *parts: str) -> str:
    """Return a cache key that no other tenant, principal or policy epoch can share.

    Each part is framed by its length, so that ("a", "bc") and ("ab", "c") differ.
    """
    if not tenant:
        raise ValueError("a cache key needs a tenant")
    digest = hashlib.sha256()
    for part in (tenant, principal, epoch, *parts):
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big"))
        digest.update(raw)
    return digest.hexdigest()


def credential_hash(credential: str) -> str:
    """Return the SHA-256 of a whole credential, in hexadecimal: the only form in which one is kept or compared."""
    return hashlib.sha256(credential.encode()).hexdigest()
