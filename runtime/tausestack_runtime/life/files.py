"""The files that a tenant's servers wrote, on their way out of its folder and into one.

A record is `{"folder": path}`, `{"file": path, "mode", "size"}`, `{"at": offset, "bytes": base64}` of the file before
it, or `{"link": path, "to": text}`. Paths are below the folder. Holes are not filled.
"""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tausestack.errors import InvalidRequest

PIECE = 256 * 1024
MAX_DEPTH = 64
MAX_NAME, MAX_PATH, MAX_TARGET = 255, 3072, 4095
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Record = dict[str, Any]


@dataclass
class LeavingFiles:
    """Goes over a folder; what can't travel (sockets, pipes, folders nested too deep) is counted."""

    root: Path
    left_out: int = 0
    files: int = 0

    def records(self) -> Generator[Record]:
        """Yield all that is in the folder, as it is when its turn comes: servers may write meanwhile.

        What a server can rename under our hands is never looked up by its path: from the root on, each folder is
        opened in the one above it, and no link is followed.
        """
        if self.root.is_dir():
            yield from self._folder(None, str(self.root), "", 0)

    def _folder(self, above: int | None, own: str, path: str, depth: int) -> Generator[Record]:
        try:
            folder = os.open(own, _FOLDER, dir_fd=above)
        except OSError:
            self.left_out += 1  # removed meanwhile, another thing by now, or shut even to its owner
            return
        try:
            if path:
                yield {"folder": path}
            for entry in self._entries(folder):
                yield from self._entry(folder, entry, f"{path}/{entry.name}" if path else entry.name, depth)
        finally:
            os.close(folder)

    def _entries(self, folder: int) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError:
            self.left_out += 1
            return []

    def _entry(self, folder: int, entry: os.DirEntry[str], name: str, depth: int) -> Generator[Record]:
        if depth >= MAX_DEPTH or len(os.fsencode(name)) > MAX_PATH or not _is_text(entry.name):
            self.left_out += 1
        elif entry.is_symlink():
            yield from self._link(folder, entry.name, name)
        elif entry.is_dir(follow_symlinks=False):
            yield from self._folder(folder, entry.name, name, depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield from self._file(folder, entry.name, name)
        else:
            self.left_out += 1

    def _link(self, folder: int, own: str, name: str) -> Generator[Record]:
        try:
            target = os.readlink(own, dir_fd=folder)
        except OSError:
            self.left_out += 1
            return
        # What `take_in` would refuse must not leave: it would keep the whole archive from being taken in.
        if _is_text(target) and len(os.fsencode(target)) <= MAX_TARGET:
            yield {"link": name, "to": target}
        else:
            self.left_out += 1

    def _file(self, folder: int, own: str, name: str) -> Generator[Record]:
        try:
            file = os.open(own, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
        except OSError:
            self.left_out += 1
            return
        try:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                self.left_out += 1
                return
            self.files += 1
            yield {"file": name, "mode": stat.S_IMODE(about.st_mode) & 0o777, "size": about.st_size}
            at = 0
            while (start := _next_piece(file, at)) is not None and start < about.st_size:
                piece = os.pread(file, min(PIECE, about.st_size - start), start)
                if not piece:
                    break
                yield {"at": start, "bytes": b64encode(piece).decode()}
                at = start + len(piece)
        finally:
            os.close(file)


def take_in(root: Path, records: Iterable[list[Record]]) -> int:
    """Write files into a folder that is not there yet, and return how many; raises `InvalidRequest` for bad ones.

    Links come last: nothing is ever written through one.
    """
    arriving = _Arriving(root)
    try:
        for some in records:
            for record in some:
                arriving.take(record)
        arriving.link()
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise InvalidRequest("two files of the archive are in each other's place") from error
    except OSError as error:
        raise InvalidRequest(f"a file of the archive can't be written: {error.strerror}") from error
    finally:
        arriving.close()
    return arriving.files


class _Arriving:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = -1
        self._size = 0
        self._links: list[tuple[Path, str]] = []
        self._folders = {""}
        self.files = 0

    def take(self, record: Record) -> None:
        match record:
            case {"at": int(at), "bytes": str(packed), **rest} if not rest:
                self._write(at, packed)
            case {"folder": str(path), **rest} if not rest:
                self._path(path).mkdir(mode=0o700)
                self._folders.add(path)
            case {"link": str(path), "to": str(target), **rest} if not rest:
                if not target or "\0" in target or len(os.fsencode(target)) > MAX_TARGET:
                    raise InvalidRequest("a link of the archive leads nowhere")
                self._links.append((self._path(path), target))
            case {"file": str(path), "mode": int(mode), "size": int(size), **rest} if not rest:
                self._begin(self._path(path), mode, size)
            case _:
                raise InvalidRequest("a record is no file")

    def link(self) -> None:
        self.close()
        for path, target in self._links:
            path.symlink_to(target)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self, path: Path, mode: int, size: int) -> None:
        self.close()
        if not 0 <= size < 2**63 or not 0 <= mode <= 0o777:
            raise InvalidRequest("a file of the archive has a size or mode that can't be")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode | 0o600)
        os.fchmod(self._file, mode)
        os.ftruncate(self._file, size)
        self._size = size
        self.files += 1

    def _write(self, at: int, packed: str) -> None:
        try:
            raw = b64decode(packed, validate=True)
        except ValueError as error:
            raise InvalidRequest("a file of the archive can't be read") from error
        if self._file < 0 or at < 0 or at + len(raw) > self._size:
            raise InvalidRequest("a file of the archive is longer than it says")
        if os.pwrite(self._file, raw, at) != len(raw):
            raise InvalidRequest("a file of the archive can't be written: the disk is full")

    def _path(self, path: str) -> Path:
        """Return where a path of the archive is, or raise `InvalidRequest` for one that leads elsewhere."""
        parts = path.split("/")
        good = all(part and part not in {".", ".."} and len(os.fsencode(part)) <= MAX_NAME for part in parts)
        if not good or "\0" in path or len(parts) > MAX_DEPTH + 1 or len(os.fsencode(path)) > MAX_PATH:
            raise InvalidRequest("a file of the archive has a path that leads out of its folder, or none")
        if path.rpartition("/")[0] not in self._folders:
            raise InvalidRequest("a file of the archive is in no folder of the archive's")
        if not self._root.exists():
            self._root.mkdir(mode=0o700, parents=True)
        return self._root / path


def _next_piece(file: int, at: int) -> int | None:
    """Return where bytes go on that are there, None where nothing but a hole follows."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        return None


def _is_text(name: str) -> bool:
    """Whether a name can stand in JSON; on the disk it may be any bytes."""
    return name.isprintable() or not any("\ud800" <= each <= "\udfff" for each in name)
