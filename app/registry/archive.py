"""Reading a tar of a checkpoint directory that a stranger sent.

Knows the tar format, strictly: plain files with the names of a checkpoint, and nothing else. Python's own tar reader
follows more than that and sizes its buffers by what a header claims, so it is not used.
Knows nothing of what the files mean.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from app.checkpoint.directory import FileEntry, Manifest, allowed
from app.errors import InvalidRequest, OstinatoError, TooLarge
from app.storage.blobs import BlobStore

BLOCK, CHUNK = 512, 2**20
MEMBERS_LIMIT = 256
EXTENSION_LIMIT = 64 * 1024  # bytes of an extended header
TAIL_LIMIT = 4 * 2**20  # bytes of padding after the end
KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}
HOW = "make it with: tar -C DIRECTORY -cf checkpoint.tar ."


class ArchiveInvalid(InvalidRequest):
    code = "invalid_archive"


@dataclass(frozen=True, slots=True)
class _Header:
    name: str
    size: int
    kind: bytes


class _Source:
    """Exact reads from a stream of pieces, unpacked where it is gzip, and never more than `limit` bytes in all."""

    def __init__(self, stream: Iterable[bytes], limit: int) -> None:
        self._pieces = _unpacked(iter(stream))
        self._rest = b""
        self.left = limit

    def some(self, most: int) -> bytes:
        """From 1 to `most` bytes; none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        found, self._rest = self._rest[:most], self._rest[most:]
        self.left -= len(found)
        if self.left < 0:
            raise TooLarge("the archive unpacks to more than an upload may have")
        return found

    def exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.some(min(size, CHUNK))
            if not piece:
                raise ArchiveInvalid("the archive ends in the middle; send it again")
            size -= len(piece)
            yield piece


def unpack(stream: Iterable[bytes], directory: Path, limit: int) -> None:
    """Write the files of a tar (or tar.gz) into the empty private `directory`; `limit` is in unpacked bytes.

    Raises ArchiveInvalid for anything that is not a plain file of a checkpoint, TooLarge beyond the limit.
    """
    source, seen = _Source(stream, limit), set[str]()
    for header in _headers(source):
        name = _place(header)
        if name is None:
            continue
        if name.lower() in seen:
            raise ArchiveInvalid(f"{name!a} is there twice")
        seen.add(name.lower())
        if header.size > source.left or header.size > (allowed(name) or 0):
            raise TooLarge(f"{name} has {header.size} bytes, which is too much")
        path = directory / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            for piece in source.exactly(header.size):
                file.write(piece)
        _skip(source, -header.size % BLOCK)
    if not seen:
        raise ArchiveInvalid(f"the archive holds no file; {HOW}")


def _headers(source: _Source) -> Iterator[_Header]:
    """The members, with extended headers folded in. The caller reads each one's bytes before it takes the next."""
    extended: dict[str, str] = {}
    for _ in range(MEMBERS_LIMIT):
        block = b"".join(source.exactly(BLOCK))
        if not any(block):
            _drain(source)
            return
        header = _header(block)
        if header.kind in (b"x", b"g", b"L"):
            if header.size > EXTENSION_LIMIT:
                raise ArchiveInvalid("the archive has an extended header of unusual size")
            data = b"".join(source.exactly(header.size))
            _skip(source, -header.size % BLOCK)
            extended |= _extension(header.kind, data)
            continue
        size = _number(extended["size"]) if "size" in extended else header.size
        yield _Header(extended.get("path", header.name), size, header.kind)
        extended = {}
    raise ArchiveInvalid(f"the archive has more than {MEMBERS_LIMIT} members")


def _place(header: _Header) -> str | None:
    """Where a member belongs; None for a folder, which appears with its files."""
    name = header.name.removeprefix("./")
    if header.kind == b"5":
        if header.size or name.rstrip("/") not in ("", ".", "plots"):
            raise ArchiveInvalid(f"folder {header.name[:100]!a} has no place in a checkpoint; {HOW}")
        return None
    if header.kind not in (b"0", b"\0"):
        raise ArchiveInvalid(f"{header.name[:100]!a} is {KINDS.get(header.kind, 'no plain file')}; links are refused")
    if allowed(name) is None:
        raise ArchiveInvalid(f"{header.name[:100]!a} has no place in a checkpoint; {HOW}")
    return name


def _header(block: bytes) -> _Header:
    claimed = _octal(block[148:156])
    if claimed != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise ArchiveInvalid(f"this is no tar archive, or a damaged one; {HOW}")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = f"{prefix}/{name}"
    return _Header(name, _octal(block[124:136]), block[156:157])


def _octal(field: bytes) -> int:
    text = field.strip(b" \0")
    if not text:
        return 0
    if len(text) > 12 or any(byte not in b"01234567" for byte in text):
        raise ArchiveInvalid(f"this is no tar archive, or a damaged one; {HOW}")
    return int(text, 8)


def _text(field: bytes) -> str:
    try:
        return field.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise ArchiveInvalid("the archive has a name that is not UTF-8") from None


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extended header says that matters here: `path` and `size`."""
    if kind == b"L":
        return {"path": _text(data)}
    found = {}
    while data:
        length, _, _ = data.partition(b" ")
        size = _number(length.decode("ascii", "replace"))
        record, data = data[:size], data[size:]
        if len(record) != size or not record.endswith(b"\n") or b"=" not in record:
            raise ArchiveInvalid("the archive has a damaged extended header")
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        found[_text(key)] = _text(value)
    if any(key.startswith("GNU.sparse") for key in found):
        raise ArchiveInvalid("the archive has a sparse file; make it without -S")
    return {} if kind == b"g" else {key: found[key] for key in ("path", "size") if key in found}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 15):
        raise ArchiveInvalid("the archive has a damaged extended header")
    return int(text)


def _skip(source: _Source, size: int) -> None:
    for _ in source.exactly(size):
        pass


def _drain(source: _Source) -> None:
    """Read to the end, so that the sender is not cut off; nothing but padding may follow."""
    left = TAIL_LIMIT
    while piece := source.some(CHUNK):
        left -= len(piece)
        if left < 0 or any(piece):
            raise ArchiveInvalid("something follows the end of the archive")


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, inflated where they begin like gzip; never more than `CHUNK` bytes at once."""
    first = b""
    while len(first) < 2 and (piece := next(pieces, None)) is not None:
        first += piece
    if first[:2] != b"\x1f\x8b":
        yield first
        yield from pieces
        return
    inflater, pending = zlib.decompressobj(31), first
    try:
        while not inflater.eof:
            yield inflater.decompress(pending, CHUNK)
            pending = inflater.unconsumed_tail
            if not pending and not inflater.eof:
                following = next(pieces, None)
                if following is None:
                    return
                pending = following
    except zlib.error:
        raise ArchiveInvalid("the archive is damaged: its gzip cannot be read") from None


@dataclass(frozen=True, slots=True)
class Export:
    """`size`: how many bytes `pieces` has in all."""

    size: int
    pieces: Iterator[bytes]


def export(files: Manifest, blobs: BlobStore) -> Export:
    """Raises BlobMissing before the first byte where the store has lost something."""
    for entry in files.values():
        blobs.open(entry.sha256)
    blocks = sum(1 + -(-entry.size // tarfile.BLOCKSIZE) for entry in files.values()) + 2
    return Export(blocks * tarfile.BLOCKSIZE, _tar_pieces(files, blobs))


def _tar_pieces(files: Manifest, blobs: BlobStore) -> Iterator[bytes]:
    for name in sorted(files):
        yield _tar_header(name, files[name])
        size = 0
        for piece in blobs.open(files[name].sha256):
            size += len(piece)
            yield piece
        if size != files[name].size:  # the length was promised in the header
            raise OstinatoError(f"stored bytes are damaged: {name} has {size} bytes, not {files[name].size}")
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _tar_header(name: str, entry: FileEntry) -> bytes:
    info = tarfile.TarInfo(name)  # time 0, owner 0, mode 0644
    info.size = entry.size
    return info.tobuf(tarfile.GNU_FORMAT)
