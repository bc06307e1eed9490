"""The secrets of a stack: the master secrets from which every key is derived, and the operator's key."""

from __future__ import annotations

import math
import os
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tausestack.errors import Unavailable
from tausestack_runtime.settings import Settings, StartError

SECRET_FILE = "secret.key"  # noqa: S105 a file's name
OPERATOR_FILE = "operator.key"
OPERATOR_PREFIX = "tsk_operator_"
MIN_SECRET_CHARACTERS = 32
_UNTIL = "\tuntil="
"""In the file of the masters: between a master and the end of its time."""


WORKER_PREFIX = "tsw_"


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


def worker_credential(keys: Keys) -> str:
    """Return what proves a worker on another machine to be the stack's own: whoever has a master secret has it."""
    return WORKER_PREFIX + keys.subkey("worker").hex()


@dataclass(frozen=True)
class Master:
    """A master secret, and until when it holds, in seconds since the epoch."""

    secret: str = field(repr=False)
    keys: Keys
    until: float = math.inf

    @property
    def line(self) -> str:
        """How it stands in the file."""
        return self.secret if self.until == math.inf else f"{self.secret}{_UNTIL}{self.until:.0f}"

    @classmethod
    def of(cls, line: str) -> Master:
        """Read one, or raise `StartError`."""
        secret, _, until = line.partition(_UNTIL)
        return cls(secret, Keys(secret), float(until) if until.isdecimal() else math.inf)


class Masters:
    """The master secrets that hold: the current one first, then those that it is taking over from.

    They come from the environment, or from `{data}/secret.key`, a line each, which is read again when it was replaced.
    One that seals nothing any more holds for a while yet, for what was signed by a key of its own.
    """

    def __init__(
        self,
        data: Path,
        secret: str | None = None,
        previous: str | None = None,
        *,
        make: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read them; a missing file is made unless `make` is false. Raises `StartError` for one that is no good."""
        self.path = data / SECRET_FILE
        self.given = secret is not None
        """Whether they come from the environment, which only the operator changes."""
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        given = [each for each in (secret, previous) if each is not None]
        self._known = _distinct([Master(each, Keys(each)) for each in given]) if self.given else ()
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
        return tuple(one.keys for one in self._holding())

    def sealing(self) -> tuple[Keys, ...]:
        """Return those of them that anything may be sealed by: two while one takes over, else one."""
        return tuple(one.keys for one in self._holding() if one.until == math.inf)

    def leaving(self) -> dict[str, float]:
        """Return those of them that seal nothing any more, and until when each holds."""
        return {one.keys.id: one.until for one in self._holding() if one.until != math.inf}

    @property
    def current(self) -> Keys:
        """The master that is sealed with."""
        return self.live()[0]

    def begin(self) -> bool:
        """Put a new master before the others; return false, and leave them, where one is taking over already."""
        if len(self.sealing()) > 1:
            return False
        if self.given:
            raise StartError(
                "the master secret comes from the environment: start the stack with a new TAUSESTACK_SECRET_KEY and "
                "the present one as TAUSESTACK_SECRET_KEY_PREVIOUS, then rotate again"
            )
        fresh = secrets.token_hex(32)
        self._write([Master(fresh, Keys(fresh)), *self._holding()])
        return True

    def retire(self, seconds: float) -> None:
        """Let all but the current master hold for some seconds more: nothing is sealed by them any more."""
        if not self.given:
            until = self._clock() + seconds
            current, *others = self._holding()
            self._write([current, *(replace(one, until=min(one.until, until)) for one in others)])

    def prune(self) -> None:
        """Forget the masters that hold no longer."""
        if not self.given and len(self._holding()) < len(self._known):
            self._write(self._holding())

    def _holding(self) -> list[Master]:
        if not self.given:
            seen = _identity(self.path)
            if seen is None or seen != self._seen:
                self._known, self._seen = self._reread(), seen
        now = self._clock()
        return [one for one in self._known if one.until > now]

    def _write(self, masters: Sequence[Master]) -> None:
        now = self._clock()
        _replace(self.path, [one.line for one in masters if one.until > now])

    def _reread(self) -> tuple[Master, ...]:
        try:
            return _distinct([Master.of(line) for line in _read(self.path, "").splitlines()])
        except StartError as error:
            if not self._known:
                raise
            raise Unavailable(f"the master key can't be read any more: {error}") from error


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


def _distinct(given: Sequence[Master]) -> tuple[Master, ...]:
    return tuple(
        {one.keys.id: one for one in reversed(given)}[each] for each in dict.fromkeys(one.keys.id for one in given)
    )


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
