"""The file that tenants travel in: a tar of numbered segments, told of by a manifest at its end (docs/adrs/0032).

```
head.json                        format, version, kind, release, what its keys are made of
000001.0.auth.jsonl.gz           segments of records, a JSON object a line, in order; tenant 0's share of `auth`
000002.0.auth.jsonl.gz …
manifest.json                    the tenants with their parts, every segment with its SHA-256, a MAC over all of it
```

No name in it is a tenant's: names are in records. It is written as it is read, and read back only once all of it was
found to be what the manifest says. Writing and reading hold one segment at a time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tarfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from tausestack.contract import VERSION as RELEASE
from tausestack.errors import InvalidRequest
from tausestack.raw import as_object, object_at, objects_in
from tausestack_runtime.life.archive_keys import ArchiveKeys

FORMAT, VERSION = "tausestack-archive", 1
HEAD, MANIFEST = "head.json", "manifest.json"
Kind = Literal["tenant", "installation"]
SEGMENT_BYTES = 1024 * 1024
"""A segment ends once its records have so many bytes."""
MAX_SEGMENT_BYTES = 64 * 1024 * 1024
"""What a segment's records, and so one record, may have at most."""
MAX_HEAD_BYTES, MAX_MANIFEST_BYTES = 64 * 1024, 256 * 1024 * 1024
_BLOCK = 512
_NAME = re.compile(r"(\d{6,9})\.(\d{1,7})\.([a-z0-9][a-z0-9-]{0,47})\.jsonl\.gz")

GiveKeys = Callable[[dict[str, Any]], ArchiveKeys]
"""Returns the keys of an archive by what its head says of them, or raises `BadArchive`."""


class BadArchive(InvalidRequest):
    """Why a file is refused, before anything of it is taken."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One member of the tar: whose and which part it is of, and where its bytes lie."""

    name: str
    group: int
    part: str
    sha256: str
    size: int
    records: int
    offset: int = 0

    def told(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {"name": self.name, "sha256": self.sha256, "size": self.size, "records": self.records}


@dataclass
class ArchiveWriter:
    """Writes an archive, in order; holds one segment at a time."""

    file: IO[bytes]
    keys: ArchiveKeys
    _segments: list[Segment] = field(default_factory=list[Segment])
    _lines: list[bytes] = field(default_factory=list[bytes])
    _size: int = 0
    _head: str = ""

    def begin(self, kind: Kind, made_at: str) -> None:
        """Write the head."""
        head = {"format": FORMAT, "version": VERSION, "kind": kind, "release": RELEASE, "made_at": made_at}
        raw = orjson.dumps({**head, "keys": self.keys.told})
        self._head = hashlib.sha256(raw).hexdigest()
        self._put(HEAD, raw)

    def add(self, group: int, part: str, line: bytes) -> None:
        """Take a record of a part."""
        if len(line) > MAX_SEGMENT_BYTES:
            raise BadArchive(f"a record of {part} has {len(line)} bytes: {MAX_SEGMENT_BYTES} are the most")
        if self._size + len(line) >= MAX_SEGMENT_BYTES:
            self.end(group, part)
        self._lines.append(line)
        self._size += len(line) + 1
        if self._size >= SEGMENT_BYTES:
            self.end(group, part)

    def end(self, group: int, part: str) -> None:
        """Write what is left of a part, if anything is."""
        if not self._lines:
            return
        packer = zlib.compressobj(1, wbits=31)
        packed = packer.compress(b"\n".join(self._lines) + b"\n") + packer.flush()
        name = f"{len(self._segments) + 1:06d}.{group}.{part}.jsonl.gz"
        digest = hashlib.sha256(packed).hexdigest()
        self._segments.append(Segment(name, group, part, digest, len(packed), len(self._lines)))
        self._lines, self._size = [], 0
        self._put(name, packed)

    def finish(self, tenants: list[dict[str, Any]]) -> None:
        """Write the manifest, which tells of every tenant and its parts, and the tar's end."""
        told = {"head": self._head, "tenants": tenants, "segments": [one.told() for one in self._segments]}
        signed = {**told, "mac": self.keys.signed(_canonical(told))}
        self._put(MANIFEST, orjson.dumps(signed))
        self.file.write(b"\0" * (2 * _BLOCK))

    def _put(self, name: str, content: bytes) -> None:
        about = tarfile.TarInfo(name)
        about.size, about.mode = len(content), 0o600
        self.file.write(about.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % _BLOCK))


@dataclass(frozen=True)
class Archive:
    """A file that was found to be whole: what it says of itself, and where its segments lie."""

    path: Path
    head: dict[str, Any]
    tenants: list[dict[str, Any]]
    segments: list[Segment]
    keys: ArchiveKeys

    def lines(self, group: int, part: str) -> Generator[list[bytes]]:
        """Yield a part's records, those of a segment at once; raises `BadArchive` where the file changed meanwhile."""
        with self.path.open("rb") as file:
            for one in self.segments:
                if (one.group, one.part) == (group, part):
                    file.seek(one.offset)
                    packed = file.read(one.size)
                    if hashlib.sha256(packed).hexdigest() != one.sha256:
                        raise BadArchive("the file was changed while it was read")
                    yield _unpacked(packed)[:-1].split(b"\n")

    def records(self, group: int, part: str) -> Generator[list[dict[str, Any]]]:
        """Yield a part's records, parsed."""
        for lines in self.lines(group, part):
            yield [_object(line) for line in lines]


def open_archive(path: Path, kind: Kind, give_keys: GiveKeys) -> Archive:
    """Return an archive once all of it was read and found to be as its manifest says, or raise `BadArchive`.

    The memory that this takes is that of one segment, whatever the file claims.
    """
    with path.open("rb") as file:
        members = _members(file)
        name, raw, _ = next(members, ("", b"", 0))
        head = _object(raw) if name == HEAD else {}
        keys, digest = _keys_of(head, kind, give_keys), hashlib.sha256(raw).hexdigest()
        segments: list[Segment] = []
        for name, raw, offset in members:
            if name == MANIFEST:
                manifest = _object(raw)
                if next(members, None) is not None:
                    raise BadArchive("something follows the manifest")
                return Archive(path, head, _tenants_of(manifest, digest, segments, keys), segments, keys)
            segments.append(_segment(name, raw, offset, len(segments) + 1))
    raise BadArchive("the manifest is missing: the file was cut off")


def _members(file: IO[bytes]) -> Generator[tuple[str, bytes, int]]:
    """Yield the names, contents and offsets of a tar's plain files, and nothing else that a tar can hold.

    tarfile itself would follow what headers say: names of any length, links, holes.
    """
    while header := file.read(_BLOCK):
        if header == b"\0" * _BLOCK:
            if file.read(_BLOCK + 1) != b"\0" * _BLOCK:
                raise BadArchive("the file's end is not one")
            return
        try:
            about = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.TarError, UnicodeDecodeError, ValueError) as error:
            raise BadArchive("it is no archive of TauseStack's, or was changed") from error
        most = {HEAD: MAX_HEAD_BYTES, MANIFEST: MAX_MANIFEST_BYTES}.get(about.name, MAX_SEGMENT_BYTES)
        if not 0 <= about.size <= most:
            raise BadArchive("it holds something larger than can be")
        offset = file.tell()
        content = file.read(about.size)
        padding = file.read(-about.size % _BLOCK)
        if len(content) != about.size or len(padding) != -about.size % _BLOCK:
            raise BadArchive("the file was cut off")
        # Every byte of the file is accounted for: the header is the one that would be written for such a member.
        plain = tarfile.TarInfo(about.name)
        plain.size, plain.mode = about.size, 0o600
        if header != plain.tobuf(tarfile.USTAR_FORMAT) or padding.strip(b"\0"):
            raise BadArchive("it holds something else than plain files, or was changed")
        yield about.name, content, offset
    raise BadArchive("the file was cut off")


def _segment(name: str, raw: bytes, offset: int, number: int) -> Segment:
    found = _NAME.fullmatch(name)
    if found is None or int(found[1]) != number:
        raise BadArchive("its segments are not in order")
    records = _unpacked(raw).count(b"\n")
    return Segment(name, int(found[2]), found[3], hashlib.sha256(raw).hexdigest(), len(raw), records, offset)


def _unpacked(packed: bytes) -> bytes:
    opener = zlib.decompressobj(wbits=31)
    try:
        text = opener.decompress(packed, MAX_SEGMENT_BYTES + 2)
    except zlib.error as error:
        raise BadArchive("a segment is damaged") from error
    if not opener.eof or opener.unused_data or not text.endswith(b"\n"):
        raise BadArchive("a segment is larger than one may be, or damaged")
    return text


def _keys_of(head: dict[str, Any], kind: Kind, give_keys: GiveKeys) -> ArchiveKeys:
    if head.get("format") != FORMAT:
        raise BadArchive("it is no archive of TauseStack's")
    if head.get("version") != VERSION:
        raise BadArchive(f"its format is version {head.get('version')}, and this release reads {VERSION}")
    if head.get("kind") != kind:
        told = {"tenant": "a tenant: 'tausestack tenant import' takes it in"}
        raise BadArchive(f"it is {told.get(str(head.get('kind')), 'a backup: tausestack restore takes it in')}")
    return give_keys(object_at(head, "keys"))


def _tenants_of(
    manifest: dict[str, Any], head: str, segments: list[Segment], keys: ArchiveKeys
) -> list[dict[str, Any]]:
    told = {name: value for name, value in manifest.items() if name != "mac"}
    if not hmac.compare_digest(str(manifest.get("mac")), keys.signed(_canonical(told))):
        raise BadArchive("its manifest was changed, or the passphrase is another")
    tenants = objects_in(told.get("tenants"))
    if told.get("head") != head or told.get("segments") != [one.told() for one in segments]:
        raise BadArchive("it does not hold what its manifest says")
    known = {(number, part) for number, one in enumerate(tenants) for part in object_at(one, "parts")}
    if any((one.group, one.part) not in known for one in segments):
        raise BadArchive("it holds something of nobody's")
    return tenants


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = as_object(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise BadArchive("it is damaged: something is no JSON") from error
    if found is None:
        raise BadArchive("it is damaged: something is no object")
    return found


def _canonical(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
