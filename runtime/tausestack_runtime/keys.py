"""The secrets of a stack: the master secrets from which every key is derived, and the operator's key."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tausestack.errors import Unavailable
from tausestack_runtime.settings import Settings, StartError

SECRET_FILE = "secret.key"  # noqa: S105 a file's name
OPERATOR_FILE = "operator.key"
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
        self._derived: dict[str, bytes] = {}
        self.id = self.subkey("id").hex()[:16]
        """Its version: what is sealed by it names it so. It follows from the secret, and tells nothing of it."""

    def subkey(self, name: str) -> bytes:
        """Return the 32 bytes of the key of a name."""
        found = self._derived.get(name)
        if found is None:
            info = f"tausestack/{name}".encode()
            found = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._secret)
            self._derived[name] = found
        return found


class Masters:
    """The master secrets that hold: the current one first, then those that it is taking over from.

    They come from the environment, or from `{data}/secret.key`, a line each, which is read again when it was replaced.
    """

    def __init__(
        self, data: Path, secret: str | None = None, previous: str | None = None, *, make: bool = True
    ) -> None:
        """Read them; a missing file is made unless `make` is false. Raises `StartError` for one that is no good."""
        self.path = data / SECRET_FILE
        self.given = secret is not None
        """Whether they come from the environment, which only the operator changes."""
        self._seen: tuple[int, int] | None = None
        self._live = () if secret is None else _distinct([secret] if previous is None else [secret, previous])
        if previous is not None and secret is None:
            raise StartError("TAUSESTACK_SECRET_KEY_PREVIOUS needs TAUSESTACK_SECRET_KEY, the new one, beside it")
        if make and not self.given:
            _make(self.path, "")
        self.live()

    @classmethod
    def of(cls, settings: Settings, *, make: bool = True) -> Masters:
        """Return the masters of a stack's settings."""
        return cls(settings.data, settings.secret, settings.previous_secret, make=make)

    def live(self) -> tuple[Keys, ...]:
        """Return the masters that hold now."""
        if not self.given:
            seen = _identity(self.path)
            if seen is None or seen != self._seen:
                self._live, self._seen = self._reread(), seen
        return self._live

    def _reread(self) -> tuple[Keys, ...]:
        try:
            return _distinct(_read(self.path, "").splitlines())
        except StartError as error:
            if not self._live:
                raise
            raise Unavailable(f"the master key can't be read any more: {error}") from error

    @property
    def current(self) -> Keys:
        """The master that is sealed with."""
        return self.live()[0]

    def begin(self) -> bool:
        """Put a new master beside the old; return false, and leave them, where one is taking over already."""
        if len(self.live()) > 1:
            return False
        if self.given:
            raise StartError(
                "the master secret comes from the environment: start the stack with a new TAUSESTACK_SECRET_KEY and "
                "the present one as TAUSESTACK_SECRET_KEY_PREVIOUS, then rotate again"
            )
        _replace(self.path, [secrets.token_hex(32), *_read(self.path, "").splitlines()])
        return True

    def retire(self) -> None:
        """Forget all but the current master: nothing is sealed by the others any more."""
        if not self.given and len(self.live()) > 1:
            _replace(self.path, _read(self.path, "").splitlines()[:1])


def operator_key(data: Path, *, make: bool = True) -> str:
    """Return the operator's key, `tsk_operator_…`, from `{data}/operator.key`; made when missing, as in `open_keys`."""
    return _read_or_make(data / OPERATOR_FILE, OPERATOR_PREFIX, make=make)


def _read_or_make(path: Path, prefix: str, *, make: bool) -> str:
    if make:
        _make(path, prefix)
    return _read(path, prefix)


def _read(path: Path, prefix: str) -> str:
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


def _distinct(given: Sequence[str]) -> tuple[Keys, ...]:
    return tuple(Keys(secret) for secret in dict.fromkeys(given))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None  # reading it says so, and what to do
    return about.st_ino, about.st_mtime_ns


def _replace(path: Path, lines: list[str]) -> None:
    """Put another file in the place of a key file, at once and lasting."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StartError(f"can't write {path}: {error.strerror}") from error


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
