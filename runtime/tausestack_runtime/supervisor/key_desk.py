"""The control socket's operations on the stack's keys; the supervisor alone changes them."""

from __future__ import annotations

import hmac
from typing import Any

from tausestack.errors import Conflict, Forbidden
from tausestack.tenancy import credential_hash
from tausestack.tokens import RETIRES
from tausestack_runtime.keys import Masters
from tausestack_runtime.settings import StartError
from tausestack_runtime.signing import SigningKeys
from tausestack_runtime.supervisor.instances import Instances

MASTER_HELD_SECONDS = 600
"""How long a master that seals nothing any more still holds: longer than an access token, or a request to consent."""


class KeyDesk:
    """Answers the gateway for whoever rotates keys, and services for the keys that they seal with."""

    def __init__(self, masters: Masters, signing: SigningKeys, instances: Instances) -> None:
        self._masters = masters
        self._signing = signing
        self._instances = instances

    def keys(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Return the names of the keys that hold: `{masters: [id], leaving: {id: until}, signing: [{kid, …}]}`.

        Times are in seconds since the epoch.
        """
        published = [
            {"kid": key["kid"], "made_at": key.get("iat"), "retires_at": key.get(RETIRES)}
            for key in self._signing.jwks()["keys"]
        ]
        masters = [master.id for master in self._masters.sealing()]
        return {"masters": masters, "leaving": self._masters.leaving(), "signing": published}

    def sealing_keys(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the keys that the service whose process asks seals or signs with, by master, the current first."""
        credential = credential_hash(str(request.get("credential")))
        for instance in self._instances:
            held = instance.credential
            name = instance.spec.seals or instance.spec.signs
            if held is None or not hmac.compare_digest(held, credential) or name is None:
                continue
            masters = self._masters.sealing() if instance.spec.seals else self._masters.live()
            return {"keys": {master.id: master.subkey(name).hex() for master in masters}}
        raise Forbidden("no process of a service that seals or signs has this credential")

    def digest_keys(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the keys that a process of ours makes digests under, by master, the current first."""
        credential = credential_hash(str(request.get("credential")))
        for instance in self._instances:
            if instance.credential is not None and hmac.compare_digest(instance.credential, credential):
                about = f"digests of {instance.spec.name}"
                return {"keys": {master.id: master.subkey(about).hex() for master in self._masters.live()}}
        raise Forbidden("no process of ours has this credential")

    def begin_master(self, request: dict[str, Any]) -> dict[str, Any]:
        """Put a new master beside the present one, or go on with the rotation that was begun."""
        try:
            self._masters.begin()
        except StartError as error:
            raise Conflict(str(error)) from error
        self._signing.ensure()
        return self.keys(request)

    def retire_master(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let the current master be the only one; who asks has seen that nothing is sealed by the others any more.

        Those hold until what was signed by their keys has expired, or with `at_once` no longer.
        """
        if request.get("current") != self._masters.current.id:
            raise Conflict("another rotation of the master key has begun meanwhile")
        self._masters.retire(0 if request.get("at_once") is True else MASTER_HELD_SECONDS)
        return self.keys(request)

    def rotate_signing(self, request: dict[str, Any]) -> dict[str, Any]:
        """Have another key sign from now on, or retire the one named `retire` at once."""
        retire = request.get("retire")
        if retire is None:
            self._signing.rotate()
        else:
            self._signing.retire(str(retire))
        return self.keys(request)
