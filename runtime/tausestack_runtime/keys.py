"""The secrets of a stack: one master secret from which every key is derived, and the operator's key."""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tausestack.tokens import Signer
from tausestack_runtime.settings import StartError

SECRET_FILE = "secret.key"  # noqa: S105 a file's name
OPERATOR_FILE = "operator.key"
JWKS_FILE = "jwks.json"
OPERATOR_PREFIX = "tsk_operator_"
MIN_SECRET_CHARACTERS = 32


class Keys:
    """Keys derived from one master secret by HKDF-SHA256; each name gives another."""

    def __init__(self, secret: str) -> None:
        """Take the master secret, or raise `StartError` when it is too short to be one."""
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise StartError(
                f"the master secret has under {MIN_SECRET_CHARACTERS} characters: make one with 'openssl rand -hex 32'"
            )
        self._secret = secret.encode()

    def subkey(self, name: str) -> bytes:
        """Return the 32 bytes of the key of a name."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"tausestack/{name}".encode()).derive(self._secret)

    def signing_seed(self) -> bytes:
        """Return the 32 bytes of seed of the Ed25519 key that assertions and delegations are signed with."""
        return self.subkey("signing")


def open_keys(data: Path, secret: str | None = None, *, make: bool = True) -> Keys:
    """Return a stack's keys, from the secret given or from `{data}/secret.key`.

    A missing file is made, unless `make` is false. One that others can read, or that can't be read, raises
    `StartError`.
    """
    if secret is not None:
        return Keys(secret)
    return Keys(_read_or_make(data / SECRET_FILE, "", make=make))


def operator_key(data: Path, *, make: bool = True) -> str:
    """Return the operator's key, `tsk_operator_…`, from `{data}/operator.key`; made when missing, as in `open_keys`."""
    return _read_or_make(data / OPERATOR_FILE, OPERATOR_PREFIX, make=make)


def write_jwks(data: Path, signer: Signer) -> Path:
    """Write the public keys to `{data}/jwks.json`, for services started by hand, and return its path."""
    path = data / JWKS_FILE
    fresh = path.with_name(f".{JWKS_FILE}.{os.getpid()}")
    fresh.write_text(json.dumps(signer.jwks(), indent=2) + "\n")
    fresh.replace(path)
    return path


def _read_or_make(path: Path, prefix: str, *, make: bool) -> str:
    if make:
        _make(path, prefix)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise StartError(f"{path} is missing: 'tausestack up' makes it on the first start") from error
    except OSError as error:
        raise StartError(f"can't read {path}: {error.strerror}") from error
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise StartError(f"others can read {path}: run 'chmod 600 {path}', and replace it if somebody did")
        text = file.read().strip()
    if not text.startswith(prefix) or len(text) < len(prefix) + MIN_SECRET_CHARACTERS:
        raise StartError(f"{path} holds no key: delete it to have a new one made")
    return text


def _make(path: Path, prefix: str) -> None:
    """Make a key file whole and at once, so that of two starts one wins and nobody reads half a key."""
    if path.exists() or path.is_symlink():
        return
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(prefix + secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        finally:
            fresh.unlink()
    except OSError as error:
        raise StartError(f"can't write {path}: {error.strerror}") from error
